"""Following a book: no end is missed, whatever becomes of the listener."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from infra.cli.listeners import Fields, Listener, ListenFailed
from infra.cli.watching import await_book, follow_book, watch_book

BOOK = "books/b1"
SOON = 0.01


def document(status: str, progress: int) -> Fields:
    chapters = {"total": 2, "processed": 1, "embedded": 1, "failed": 0}
    about = {"title": "Emma", "chunks": 3, "chapters": chapters, "error": None, "phase": "embeddings"}
    return {"status": status, "progress": progress, **about}


class FakeListener(Listener):
    """Hears of these documents, and then of nothing more; or it ends, as one does that Firestore refuses."""

    def __init__(self, documents: Sequence[Fields], ends: bool = False) -> None:
        super().__init__("a fake")
        self._ends = ends
        for fields in documents:
            self.put(BOOK, fields)

    def is_active(self) -> bool:
        return not self._ends

    def close(self) -> None: ...


class FakeSource:
    """Gives these listeners, one after the other, and says of the book what is set."""

    def __init__(self, said: str, *listeners: FakeListener) -> None:
        self.said: dict[str, Any] = {
            "status": said,
            "progress": 100 if said == "completed" else 50,
            "phase": said,
            "version": 1,
        }
        self.said |= {"chapters": {"total": 2, "done": 2, "processed": 2, "embedded": 2, "failed": 0}, "error": None}
        self.asked = 0
        self.listeners = list(listeners)

    def get(self, path: str, **query: Any) -> Any:
        self.asked += 1
        return self.said

    def listen(self, book_id: str) -> Listener:
        return self.listeners.pop(0)


def test_a_listener_that_hears_the_end_is_enough() -> None:
    source = FakeSource("processing", FakeListener([document("processing", 50), document("completed", 100)]))

    changes = follow_book(source, "b1", SOON)
    assert [next(changes)[1]["progress"] for _ in range(2)] == [50, 100]
    assert source.asked == 0


def test_an_end_that_the_listener_missed_comes_from_the_api() -> None:
    source = FakeSource("completed", FakeListener([document("processing", 50)]))

    changes = list(follow_book(source, "b1", SOON))
    assert [(path, f["status"], f["progress"]) for path, f in changes] == [
        (BOOK, "processing", 50),
        (BOOK, "completed", 100),
    ]
    assert changes[-1][1]["title"] == "Emma", "what the API does not tell stays as it was heard"


def test_a_listener_that_never_hears_anything_misses_no_end() -> None:
    assert [f["status"] for _, f in follow_book(FakeSource("failed", FakeListener([])), "b1", SOON)] == ["failed"]


def test_another_listener_takes_the_place_of_one_that_ended() -> None:
    dead, alive = FakeListener([document("processing", 50)], ends=True), FakeListener([document("completed", 100)])
    source = FakeSource("processing", dead, alive)

    changes = follow_book(source, "b1", SOON)
    assert [next(changes)[1]["progress"] for _ in range(2)] == [50, 100]


def test_listeners_that_end_again_and_again_are_given_up() -> None:
    source = FakeSource("processing", *(FakeListener([], ends=True) for _ in range(5)))

    with pytest.raises(ListenFailed, match="was lost"):
        list(follow_book(source, "b1", SOON))
    assert len(source.listeners) == 2


def test_a_terminal_that_missed_a_chapter_still_ends(capsys: pytest.CaptureFixture[str]) -> None:
    source = FakeSource("completed", FakeListener([document("processing", 50), document("completed", 100)]))

    assert watch_book(source, "b1") == "completed"
    assert "100 %" in capsys.readouterr().out


def test_waiting_without_a_word_ends_with_the_status() -> None:
    assert await_book(FakeSource("processing", FakeListener([document("cancelled", 30)])), "b1") == "cancelled"
