"""Ids as people type them: whole, or any beginning that no other has, with or without the `…` of an example."""

from __future__ import annotations

import re
from typing import Literal

from infra.cli.client import Client
from infra.cli.endings import FAILED, USAGE, stop

Kind = Literal["book", "job", "redrive", "replay", "fingerprint"]

_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_WHOLE: dict[Kind, str] = {
    "book": _UUID,
    "job": f"(chapter|embedding)-{_UUID}|.+-{_UUID}-v[0-9]+",
    "redrive": _UUID,
    "replay": _UUID,
    "fingerprint": "[0-9a-f]{16}",
}
_ELLIPSIS = re.compile(r"…|\.\.\.")


def whole_id(client: Client, kind: Kind, text: str) -> str:
    """The id that begins with this text; `book-0d9c…-v1` begins and ends so. A whole one is not looked up.

    Ends the command if there is none in the caller's reach, or more than one. Raises ApiError.
    """
    if re.fullmatch(_WHOLE[kind], text, re.IGNORECASE):
        return text
    prefix, _, suffix = _ELLIPSIS.sub("…", text.strip()).partition("…")
    if not prefix:
        stop(f"name a {kind} by its id, or by the beginning of it", USAGE)
    found = client.get("/api/identifiers", kind=kind, prefix=prefix, suffix=suffix or None)
    matches: list[str] = found["matches"]
    if prefix in matches:
        return prefix
    if not matches:
        stop(f"there is no such {kind}", FAILED)
    if len(matches) > 1:
        more = " and more" if found["more"] else ""
        stop(f"more than one {kind} begins with {prefix}: {', '.join(matches)}{more}; type more of it", USAGE)
    return matches[0]


def whole_id_or_none(client: Client, kind: Kind, text: str | None) -> str | None:
    """The same for an option that may be left out."""
    return None if text is None else whole_id(client, kind, text)
