"""Times as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str | None) -> str | None:
    """A time as the API takes it, from `2h` (ago) or ISO 8601. Raises typer.BadParameter."""
    if text is None:
        return None
    try:
        if found := re.fullmatch(r"(\d+)([smhd])", text):
            return (datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: int(found[1])})).isoformat()
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.astimezone()).isoformat()
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is neither like 30m, 2h, 7d nor a time in ISO 8601") from None
