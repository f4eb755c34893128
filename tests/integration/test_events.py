"""A book's events: what a client hears, for how long, and who hears nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests

from shared.adapters.memory.live_documents import MemoryLiveDocuments
from shared.domain.errors import Unavailable
from shared.http.codes import Code
from shared.ports import Document, LiveChanges, Tombstone
from tests.support.serving import serving
from tests.support.world import World, manuscript

LISTENING: dict[str, str] = {}
DEADLINE = 60.0
HIGH = 2**60


@pytest.fixture
def world(dsn: str) -> Iterator[World]:
    """Asks whether its reader may read so often that no test waits for it."""
    with closing(World(dsn, stream_keepalive_seconds=0.05, stream_seconds=DEADLINE)) as made:
        yield made


@pytest.fixture
def book_id(world: World) -> str:
    return world.import_book(manuscript(2))


@contextmanager
def listening(world: World, book_id: str, user: str = "ann", query: str = "", **headers: str) -> Iterator[Any]:
    """The events of an open stream, each as its fields; a comment has none."""
    known = {"Authorization": f"Bearer {user}"} | {k.replace("_", "-"): v for k, v in headers.items()}
    reply = world.http.get(f"/api/books/{book_id}/events{query}", headers=known)
    try:
        assert (reply.status_code, reply.mimetype) == (200, "text/event-stream"), reply.text
        yield (event for chunk in reply.iter_encoded() for event in parsed(chunk))
    finally:
        reply.close()


def parsed(chunk: bytes) -> Iterator[dict[str, str]]:
    for event in chunk.decode().split("\n\n")[:-1]:
        yield dict(line.split(": ", 1) for line in event.splitlines() if not line.startswith(":"))


def data(event: dict[str, str]) -> Any:
    return json.loads(event["data"])


def paths(events: Sequence[dict[str, str]]) -> list[str]:
    return [data(event)["path"] for event in events if event]


def take(events: Iterator[dict[str, str]], count: int) -> list[dict[str, str]]:
    """So many, without comments."""
    found: list[dict[str, str]] = []
    while len(found) < count:
        if event := next(events):
            found.append(event)
    return found


def own(book_id: str) -> list[str]:
    """The paths of the book's own documents, as they come: the book's is the last."""
    return [f"books/{book_id}/live/grid", f"books/{book_id}"]


def until_end(events: Iterator[dict[str, str]]) -> str:
    """The reason that the last event gives."""
    *_, last = [event for event in events if event]
    assert last["event"] == "end"
    return str(data(last)["reason"])


def test_a_client_hears_the_books_own_documents_and_each_change_to_its_end(world: World, book_id: str) -> None:
    with listening(world, book_id) as events:
        listening_first, *first = next(events), *take(events, 2)
        world.run()
        heard = take(events, 2)

    assert listening_first == LISTENING
    assert paths(first) == paths(heard) == own(book_id)
    assert data(first[1])["fields"]["owner_uid"] == "ann"
    assert data(heard[0])["fields"]["embeddings"] == "##"
    assert data(heard[1])["fields"]["status"] == "completed"
    assert (heard[1]["id"], "id" in heard[0]) == (str(data(heard[1])["revision"]), False)


def test_what_was_seen_is_left_out_and_what_came_since_is_not(world: World, book_id: str) -> None:
    world.run()
    with listening(world, book_id) as events:
        last = take(events, 2)[-1]["id"]

    with listening(world, book_id, Last_Event_ID=last) as events:
        quiet = [next(events) for _ in range(3)]
        world.import_book(manuscript(2, changed=[1]), book_id=book_id)
        heard = take(events, 1)

    assert quiet == [LISTENING] * 3
    assert data(heard[0])["revision"] > int(last)


@pytest.mark.parametrize("unreadable", ["none", "-1", "1e9"])
def test_an_id_that_is_none_leaves_nothing_out(world: World, book_id: str, unreadable: str) -> None:
    with listening(world, book_id, Last_Event_ID=unreadable) as events:
        assert paths(take(events, 2)) == own(book_id)


def test_chapters_are_told_of_if_they_are_asked_for_and_when_they_are_no_more(world: World, book_id: str) -> None:
    world.run()
    chapters = [f"books/{book_id}/chapters/000{n}" for n in (1, 2)]
    with listening(world, book_id, query="?chapters=true", Last_Event_ID=str(HIGH)) as events:
        begun = take(events, 2)
        world.live_documents.delete([Tombstone(path=chapters[1], revision=HIGH)])
        gone = take(events, 1)[0]

    assert sorted(paths(begun)) == chapters
    assert all("id" not in event for event in begun), "a chapter's revision says nothing of the book's"
    assert (gone["event"], data(gone)) == ("removed", {"path": chapters[1]})


@pytest.mark.parametrize("user", ["bob", "ann"])
def test_a_book_that_is_not_the_callers_is_like_one_that_never_was(world: World, book_id: str, user: str) -> None:
    other = book_id if user == "bob" else str(uuid4())
    reply = world.get(f"/api/books/{other}/events", user=user)

    assert (reply.status_code, reply.json["code"]) == (404, Code.UNKNOWN_BOOK)


def test_an_administrator_hears_of_any_book(world: World, book_id: str) -> None:
    with listening(world, book_id, user="root") as events:
        assert paths(take(events, 2)) == own(book_id)


def test_a_stream_says_that_its_book_was_deleted(world: World, book_id: str) -> None:
    with listening(world, book_id) as events:
        take(events, 1)
        assert world.call("DELETE", f"/api/books/{book_id}").status_code == 204
        assert until_end(events) == "deleted"


def test_a_stream_says_that_its_reader_may_not_read_the_book_any_more(world: World, book_id: str) -> None:
    with listening(world, book_id) as events:
        take(events, 1)
        with world.app.database.transaction() as connection:
            connection.execute("UPDATE books SET owner_uid = 'bob' WHERE book_id = %s", (book_id,))
        assert until_end(events) == "denied"


def test_documents_that_were_lost_delete_no_book(world: World, book_id: str) -> None:
    world.run()
    with listening(world, book_id) as events:
        take(events, 2)
        world.live_documents.delete([Tombstone(path=f"books/{book_id}", revision=HIGH)])
        assert [next(events) for _ in range(3)] == [LISTENING] * 3


def test_a_stream_ends_after_its_time(dsn: str) -> None:
    with closing(World(dsn, stream_seconds=0.01)) as world:
        with listening(world, world.import_book(manuscript(1))) as events:
            assert until_end(events) == "time"


def test_one_process_streams_to_no_more_than_it_may_and_to_others_when_one_has_left(dsn: str) -> None:
    with closing(World(dsn, max_streams=1)) as world:
        book_id = world.import_book(manuscript(1))
        with listening(world, book_id) as events:
            take(events, 2)
            refused = world.get(f"/api/books/{book_id}/events")
            answered = world.status(book_id)
        with listening(world, book_id) as events:
            again = take(events, 2)

    assert (refused.status_code, refused.json["code"]) == (503, Code.TOO_MANY_STREAMS)
    assert int(refused.headers["Retry-After"]) > 0
    assert (answered["book_id"], paths(again)) == (book_id, own(book_id))


def test_a_stream_that_nobody_reads_frees_its_place(dsn: str) -> None:
    with closing(World(dsn, max_streams=1)) as world:
        book_id = world.import_book(manuscript(1))
        known = {"Authorization": "Bearer ann"}
        world.http.get(f"/api/books/{book_id}/events", headers=known).close()
        world.http.head(f"/api/books/{book_id}/events", headers=known).close()
        with listening(world, book_id) as events:
            assert paths(take(events, 2)) == own(book_id)


class Forgetful(MemoryLiveDocuments):
    """Tells of a document, and then that no more will come."""

    def listen_to_book(
        self,
        book_id: UUID,
        hear: Callable[[LiveChanges], None],
        lose: Callable[[Unavailable], None],
        *,
        chapters: bool = False,
    ) -> Callable[[], None]:
        hear([Document(path=f"books/{book_id}", revision=1, fields={})])
        lose(Unavailable("gone away"))
        return lambda: None


def test_a_stream_breaks_off_when_no_more_will_come(dsn: str) -> None:
    with closing(World(dsn, overrides={"live_books": Forgetful()})) as world:
        with listening(world, world.import_book(manuscript(1))) as events:
            assert [event.get("event") for event in events] == [None, "document"]


def test_a_slow_client_gets_the_newest_of_each_document(world: World, book_id: str) -> None:
    with listening(world, book_id) as events:
        take(events, 2)
        for n in range(1, 1001):
            world.live_documents.put([Document(path=f"books/{book_id}", revision=HIGH + n, fields={"progress": n})])
        heard = [data(event)["fields"]["progress"] for event in take(events, 1)]

    assert heard == [1000]


def test_the_service_of_its_own_has_this_endpoint_alone(world: World, book_id: str) -> None:
    client = world.app.book_events.test_client()
    known = {"Authorization": "Bearer ann"}
    with closing(client.get(f"/api/books/{book_id}/events", headers=known)) as reply:
        kind, first = reply.mimetype, next(iter(reply.iter_encoded()))

    assert (kind, list(parsed(first))) == ("text/event-stream", [LISTENING])
    assert client.get("/api/books", headers=known).status_code == 404
    assert client.get(f"/api/books/{book_id}/events").status_code == 401


def test_over_a_socket_events_come_at_once(world: World, book_id: str) -> None:
    with serving(world.app.api) as port:
        where = f"http://127.0.0.1:{port}/api/books/{book_id}/events"
        with requests.get(where, headers={"Authorization": "Bearer ann"}, stream=True, timeout=DEADLINE) as reply:
            lines = (line[6:] for line in reply.iter_lines(chunk_size=1) if line.startswith(b"data: "))
            heard = json.loads(next(lines))
            world.call("DELETE", f"/api/books/{book_id}")
            *_, last = lines

    assert heard["path"] in own(book_id)
    assert json.loads(last) == {"reason": "deleted"}
