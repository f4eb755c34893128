"""What many files are imported as: the name of each, and which of them are the same."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from infra.cli.import_report import Entry, Outcome

PLACEHOLDERS = ("{sha256}", "{path}", "{name}")
SOURCE_ID = "sha256:{sha256}"
"""By default an equal file is the same manuscript, wherever it lies."""


def source_id_of(template: str, path: str, sha256: str) -> str:
    """The name that a template such as `drafts/{name}` gives to a file."""
    known = {"{sha256}": sha256, "{path}": Path(path).as_posix(), "{name}": Path(path).stem}
    return re.sub("|".join(map(re.escape, PLACEHOLDERS)), lambda found: known[found[0]], template)


class Sources:
    """Which file has which source_id first, and who has the same text."""

    def __init__(self) -> None:
        self._first: dict[str, Entry] = {}
        self._ended: dict[str, Entry] = {}
        self._duplicates: dict[str, list[Entry]] = defaultdict(list)

    def first(self, source_id: str) -> Entry | None:
        return self._first.get(source_id)

    def add(self, entry: Entry) -> None:
        self._first[str(entry.source_id)] = entry

    def add_known(self, entry: Entry) -> Entry:
        self._first.setdefault(str(entry.source_id), entry)
        self._ended.setdefault(str(entry.source_id), entry)
        return entry

    def add_duplicate(self, entry: Entry) -> Entry | None:
        """Its entry, if the first one has ended; else that comes with the first one's."""
        if ended := self._ended.get(str(entry.source_id)):
            return _duplicate(entry, ended)
        self._duplicates[str(entry.source_id)].append(entry)
        return None

    def entries_of(self, ended: Entry) -> Iterator[Entry]:
        """That of a file that has ended, and of those that wait for it."""
        self._ended[str(ended.source_id)] = ended
        yield ended
        for entry in self._duplicates.pop(str(ended.source_id), ()):
            yield _duplicate(entry, ended)


def _duplicate(entry: Entry, first: Entry) -> Entry:
    return replace(
        entry, outcome=Outcome.SKIPPED, duplicate_of=first.path, book_id=first.book_id, version=first.version
    )
