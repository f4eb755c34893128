"""What is kept of an error: enough to find its cause, and a fingerprint that groups its like."""

from __future__ import annotations

import hashlib
import re
import traceback
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

from shared.domain.errors import Unavailable

_VARYING = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+", re.IGNORECASE)
_MAX_MESSAGE, _MAX_TRACEBACK, _MAX_FRAMES = 2_000, 20_000, 50
_CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """`fingerprint` is the same for errors that differ only in ids, numbers or line numbers. `is_passing`: a service
    was away, and the job is not to blame.

    `place` is the innermost function, as `file.py:function`: for logs, where a message might tell of a text.
    """

    error_class: str
    message: str
    traceback: str
    fingerprint: str
    place: str
    is_passing: bool = False

    @property
    def summary(self) -> dict[str, Any]:
        """What users see: no traceback."""
        return {k: v for k, v in asdict(self).items() if k in ("error_class", "message", "fingerprint")}


def storable(text: str) -> str:
    """Without what PostgreSQL can't hold: NULs, and halves of surrogate pairs."""
    return text.encode(errors="replace").decode().replace("\0", "")


def stack_of(error: BaseException) -> str:
    """Its traceback, and those of its causes, as Python writes them, but with the errors' classes alone: a message may
    hold text."""
    parts: list[str] = []
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        frames = traceback.extract_tb(at.__traceback__, -_MAX_FRAMES)
        # Without lines of code, as Python writes it where it has no source: they are no more than their numbers say.
        lines = traceback.format_list([(f.filename, f.lineno or 0, f.name, "") for f in frames])
        parts.append(f"Traceback (most recent call last):\n{''.join(lines)}{type(at).__name__}\n")
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return _CAUSED.join(reversed(parts))


def describe(error: BaseException) -> Failure:
    """Return what is kept of an error, each part cut to its limit."""
    message = storable(str(error))
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{PurePath(f.filename).name}:{f.name}" for f in frames]
    name = type(error).__name__
    digest = "\n".join([name, _VARYING.sub("#", message), *places])
    return Failure(
        error_class=name,
        message=message[:_MAX_MESSAGE] or name,
        traceback=storable("".join(traceback.format_exception(error)))[-_MAX_TRACEBACK:],
        fingerprint=hashlib.sha256(digest.encode()).hexdigest()[:16],
        place=places[-1] if places else "",
        is_passing=isinstance(error, Unavailable),
    )
