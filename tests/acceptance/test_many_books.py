"""Five hundred files at once: some broken, many doubled, and the command interrupted twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.local.embedded_stack import EmbeddedStack
from shared.adapters.fake_models import FakeContextExtractor, FakeEmbedder
from tests.support.command_line import started
from tests.support.waiting import poll
from tests.support.world import manuscript

FILES, BOOKS, BROKEN = 500, 60, 42
JOBS = 8
SECONDS = 120.0

EPUB_CUT_OFF = b"PK\x03\x04\x14\x00\x00\x00mimetypeapplication/epub+zip"
HOW_FILES_BREAK = (b"", b" \n\n", "… — !".encode(), EPUB_CUT_OFF, b"%PDF-1.7 \xe2\xe3", bytes(range(256)) * 8)


@dataclass
class Stack:
    """An embedded stack whose models count what they are asked."""

    data: Path
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    extractor: FakeContextExtractor = field(default_factory=FakeContextExtractor)

    def __post_init__(self) -> None:
        models = {"embedder": self.embedder, "extractor": self.extractor}
        self.running = EmbeddedStack(self.data, {"models": "fake"}, lambda name, line: None, models)  # type: ignore[arg-type]
        self.url = self.running.url

    def books(self) -> list[Any]:
        found: list[Any] = []
        with requests.Session() as session:
            session.trust_env = False  # no proxy stands before the loopback interface
            after = None
            while True:
                page = session.get(f"{self.url}/api/books", params={"limit": 200, "after": after}).json()
                found += page["books"]
                if (after := page["next"]) is None:
                    return found


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path / "data")
    yield made
    made.running.close()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The files' paths in a folder of folders, with the SHA-256 of each that is no broken one, else nothing."""
    chance = random.Random(500)
    good = [manuscript(1, 30, name=f"book {n} ").encode() for n in range(BOOKS)]
    contents = good + chance.choices(good, k=FILES - BOOKS - BROKEN)
    contents += [HOW_FILES_BREAK[n % len(HOW_FILES_BREAK)] for n in range(BROKEN)]
    chance.shuffle(contents)
    made: dict[str, str] = {}
    for n, content in enumerate(contents):
        path = tmp_path / "manuscripts" / f"shelf {n % 7}" / f"{n:03}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        made[str(path)] = hashlib.sha256(content).hexdigest() if content in good else ""
    return made


def lines_of(report: Path) -> list[Any]:
    return [json.loads(line) for line in report.read_bytes().split(b"\n")[:-1]] if report.exists() else []


def wait_for_lines(report: Path, count: int) -> None:
    for _ in poll(SECONDS, f"{count} files to end", pause_seconds=0.02):
        if len(lines_of(report)) >= count:
            return


def test_an_import_of_many_files_that_is_interrupted_twice_makes_each_book_once(
    stack: Stack, files: dict[str, str], tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    folder = str(tmp_path / "manuscripts")
    first = ("import", folder, "--jobs", str(JOBS), "--report", str(report), "--url", stack.url)
    again = (*first, "--resume")

    with started(*first) as command:
        wait_for_lines(report, FILES // 3)
        os.kill(command.pid, signal.SIGINT)
        interrupted = command.ended()
    assert interrupted.returncode == 130, interrupted.stderr
    assert f"of {FILES} files have ended" in interrupted.stderr
    assert f"bindery {' '.join(again)}" in interrupted.stderr
    after_first = lines_of(report)
    with started(*again) as command:
        wait_for_lines(report, 2 * FILES // 3)
        os.kill(command.pid, signal.SIGKILL)
        command.ended()
    report.write_bytes(report.read_bytes()[:-9])  # as a machine leaves it that loses power
    after_second = lines_of(report)
    with started(*again) as command:
        ended = command.ended()

    assert ended.returncode == 1, "the broken ones"
    assert f"{FILES} files: " in ended.stdout
    assert f"{BROKEN} rejected" in ended.stdout
    assert len(after_first) < FILES
    assert len(after_second) < FILES
    entries = lines_of(report)
    assert Counter(e["path"] for e in entries) == Counter(list(files))
    finished = [e for e in after_first + after_second if e["outcome"] in ("completed", "unchanged")]
    assert [e for e in finished if e not in entries] == [], "what was done was left alone"
    assert_each_is_told_rightly(entries, files)
    assert_each_book_is_made_once(stack, files)


def assert_each_is_told_rightly(entries: list[Any], files: dict[str, str]) -> None:
    by_path = {e["path"]: e for e in entries}
    for path, sha256 in files.items():
        entry = by_path[path]
        if not sha256:
            assert (entry["outcome"], entry["book_id"]) == ("rejected", None), entry
            assert entry["error"]["code"] in ("empty_manuscript", "not_text", "unknown_encoding")
            continue
        assert entry["source_id"] == f"sha256:{sha256}"
        assert (entry["version"], entry["error"]) == (1, None)
        if entry["outcome"] == "skipped":
            original = by_path[entry["duplicate_of"]]
            assert (original["sha256"], original["book_id"]) == (sha256, entry["book_id"])
        else:
            assert entry["outcome"] in ("completed", "unchanged"), entry
    imported = [e["source_id"] for e in entries if e["outcome"] in ("completed", "unchanged")]
    assert len(imported) == len(set(imported)) == BOOKS


def assert_each_book_is_made_once(stack: Stack, files: dict[str, str]) -> None:
    books = stack.books()
    assert {b["source_id"] for b in books} == {f"sha256:{sha256}" for sha256 in files.values() if sha256}
    assert len(books) == BOOKS
    assert {(b["status"], b["current_version"]) for b in books} == {("completed", 1)}
    assert set(stack.embedder.calls.values()) == {1}, "no text was embedded twice"
    assert len(stack.embedder.calls) == BOOKS
    assert stack.extractor.calls == {"quick": BOOKS, "chapter": BOOKS, "full": BOOKS}
