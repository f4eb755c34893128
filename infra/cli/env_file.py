"""`.env.local`, which Vite and Next read: where the local stack is, by the names that they hand on to the browser."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_PREFIXES = ("VITE_", "NEXT_PUBLIC_")
_NAMES = {
    "BINDERY_URL": "BINDERY_URL",
    "GOOGLE_CLOUD_PROJECT": "FIREBASE_PROJECT_ID",
    "FIRESTORE_EMULATOR_HOST": "FIRESTORE_EMULATOR_HOST",
}
"""What of a stack's environment a page may know, and its name there. Not the database's address: it has a password."""

_FIRST, _LAST = "# Written by `bindery dev --app`, each time it starts:", "# (end of what `bindery dev` writes)"
_BLOCK = re.compile(rf"^{re.escape(_FIRST)}\n.*?^{re.escape(_LAST)}\n", re.DOTALL | re.MULTILINE)


def write_env_file(folder: Path, environment: Mapping[str, str]) -> Path:
    """Write the folder's `.env.local`, and return it. What else is in it stays. Raises OSError."""
    file = folder / ".env.local"
    lines = [f"{p}{_NAMES[name]}={environment[name]}" for p in _PREFIXES for name in _NAMES if name in environment]
    block = "\n".join([_FIRST, *lines, _LAST, ""])
    before = file.read_text() if file.exists() else ""
    if _BLOCK.search(before):
        after = _BLOCK.sub(lambda _: block, before, count=1)
    else:
        after = before + ("\n" if before and not before.endswith("\n") else "") + block
    file.write_text(after)
    return file
