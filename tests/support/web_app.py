"""What web apps are made of: Firebase's SDK, React and a bundler, as `tests/acceptance/web` pins them, and our client."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.lacking import lacking

_ROOT = Path(__file__).resolve().parents[2]
WEB_APP = _ROOT / "tests" / "acceptance" / "web"
_CLIENT = _ROOT / "infra" / "clients" / "web"


def installed_packages() -> Path:
    """The folder `node_modules`, which the first run installs from the lock."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        lacking("there is no npm or no node on the path")
    digest = hashlib.sha256((WEB_APP / "package-lock.json").read_bytes()).hexdigest()[:12]
    cache = _ROOT / ".bindery" / f"web-sdk-{digest}"
    if not cache.exists():
        cache.parent.mkdir(exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=cache.parent))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(WEB_APP / name, new)
        install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
        done = subprocess.run(install, cwd=new, capture_output=True, text=True, timeout=300)
        if done.returncode:
            shutil.rmtree(new)
            lacking(f"npm can't install what web apps are made of: {done.stderr.strip()[-300:]}")
        try:
            new.rename(cache)  # in one step, so that whoever finds it finds all of it
        except OSError:
            shutil.rmtree(new)  # another process was faster
    return cache / "node_modules"


def link_node_modules(folder: Path, packages: Path) -> None:
    """Give a folder the packages, and our client as `npm install` would."""
    modules = folder / "node_modules"
    modules.mkdir()
    for package in packages.iterdir():
        (modules / package.name).symlink_to(package)
    # Copied: from its own folder it would not find the packages.
    shutil.copytree(_CLIENT, modules / "bindery-client")
