"""The report of an import of many files: a line of JSON for each, as soon as it is known what became of it.

A run that was broken off leaves a report that `--resume` goes on with: its last line may be cut.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from infra.cli.endings import FAILED, USAGE, stop


class Outcome(StrEnum):
    """What became of a file."""

    COMPLETED = "completed"
    COMPLETED_WITH_FAILURES = "completed_with_failures"
    """Its book is complete, but for chapters that failed."""
    UNCHANGED = "unchanged"
    """Its book was complete, of the same text."""
    SKIPPED = "skipped"
    """It is imported by another path."""
    FAILED = "failed"
    """Its import or its book failed; to import it again may help."""
    CANCELLED = "cancelled"
    """Somebody cancelled its book."""
    REJECTED = "rejected"
    """It can't be imported as it is."""


FINE = (Outcome.COMPLETED, Outcome.UNCHANGED, Outcome.SKIPPED)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the report. `sha256` is that of the file's bytes; `chapters` are the counts that the API tells of the
    book; `duplicate_of` is the path by which a skipped file is imported."""

    path: str
    source_id: str | None = None
    book_id: str | None = None
    version: int | None = None
    outcome: Outcome
    chapters: Mapping[str, int] | None = None
    error: Mapping[str, str] | None = None
    seconds: float = 0.0
    duplicate_of: str | None = None
    sha256: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do, as long as the file is the same."""
        return self.outcome in (Outcome.COMPLETED, Outcome.UNCHANGED)

    @property
    def json(self) -> str:
        return json.dumps(asdict(self))  # in ASCII: names of files may be no Unicode


_LINES_BEGIN = b'{"path": "'


class Report:
    """Entries on disk: each is written at once, so that no end of this process loses one. Of several lines of a file
    the last one counts; when it is closed, there is one of each. Without a path, nothing is kept.
    """

    def __init__(self, path: Path | None, known: Mapping[str, Entry]) -> None:
        """Begins with entries that are known, by path. Ends the command if it can't be written."""
        self._path = path
        self._entries = dict(known)
        if path:
            self._write_anew(path)
            self._file = path.open("ab")

    def add(self, entry: Entry) -> None:
        """Ends the command if there is no room for it."""
        if self._path is None or self._entries.get(entry.path) == entry:
            return
        self._entries[entry.path] = entry
        try:
            self._file.write(f"{entry.json}\n".encode())
            self._file.flush()
        except OSError as error:
            stop(f"{self._path}: {error.strerror}", FAILED)

    def _write_anew(self, path: Path) -> None:
        new = path.with_name(f"{path.name}.new")
        try:
            new.write_text("".join(f"{entry.json}\n" for entry in self._entries.values()), "utf-8")
            new.replace(path)  # who is killed meanwhile leaves the one or the other
        except OSError as error:
            stop(f"{path}: {error.strerror}", USAGE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._path:
            self._file.close()
            self._write_anew(self._path)


def read_report(path: Path) -> dict[str, Entry]:
    """What a report says, by path; nothing if there is none yet. Ends the command if it is no report."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        stop(f"{path}: {error.strerror}", USAGE)
    *whole, cut = raw.split(b"\n")
    if not (cut.startswith(_LINES_BEGIN) or _LINES_BEGIN.startswith(cut)):
        _refuse(path)
    return {entry.path: entry for entry in (_entry(line, path) for line in whole)}


def _entry(line: bytes, path: Path) -> Entry:
    try:
        fields: dict[str, Any] = json.loads(line)
        return Entry(**fields | {"outcome": Outcome(fields["outcome"])})
    except (ValueError, TypeError, KeyError):
        _refuse(path)


def _refuse(path: Path) -> NoReturn:
    stop(f"{path} is no report of an import: name another file by --report", USAGE)
