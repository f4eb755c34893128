"""The clients that apps embed: each hears the same of a book, and comes back when the connection was lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest

from infra.clients.python.bindery.client import AsyncBindery, Bindery, BinderyError
from tests.support.lacking import lacking
from tests.support.serving import serving
from tests.support.tcp_gate import TcpGate
from tests.support.world import World, manuscript

WEB = Path(__file__).parents[2] / "infra" / "clients" / "web"
ENDS = ("done", "denied", "deleted")

Seen = Mapping[str, Any]
Watch = Callable[..., Generator[Seen]]

NODE = """
import { fromEvents } from %s;
import { watchBook } from %s;
const [url, token, book, chapters] = process.argv.slice(1);
const stop = watchBook(fromEvents({ url, token: async () => token }), book, (seen) => {
    console.log(JSON.stringify(seen));
    if (%s.includes(seen.state)) stop();
}, { chapters: chapters === "true" });
"""


def by_python(url: str, user: str, book_id: str, *, chapters: bool = False, version: int = 0) -> Generator[Seen]:
    with Bindery(url, lambda: user) as bindery:
        for seen in bindery.watch(book_id, version=version, chapters=chapters):
            yield vars(seen)


def by_async_python(url: str, user: str, book_id: str, *, chapters: bool = False) -> Generator[Seen]:
    with anyio.from_thread.start_blocking_portal() as portal:
        bindery = AsyncBindery(url, user)
        with portal.wrap_async_context_manager(bindery):
            heard = bindery.watch(book_id, chapters=chapters)
            try:
                while True:
                    yield vars(portal.call(anext, heard))
            except StopAsyncIteration:
                return
            finally:
                portal.call(heard.aclose)


def by_node(url: str, user: str, book_id: str, *, chapters: bool = False) -> Generator[Seen]:
    if shutil.which("node") is None:
        lacking("there is no node on the path")
    modules = [json.dumps((WEB / name).as_uri()) for name in ("events.js", "watch-book.js")]
    program = NODE % (*modules, json.dumps(ENDS))
    command = ["node", "--input-type=module", "-e", program, url, user, book_id, str(chapters).lower()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sys.stderr, text=True) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                yield json.loads(line)
        finally:
            process.kill()


@pytest.fixture(params=[by_python, by_async_python, by_node])
def watch_by(request: pytest.FixtureRequest) -> Watch:
    made: Watch = request.param
    return made


@dataclass(frozen=True, kw_only=True)
class Stand:
    world: World
    gate: TcpGate
    url: str
    watch_by: Watch
    stack: ExitStack

    def watch(self, book_id: str, user: str = "ann", **options: Any) -> Iterator[Seen]:
        return self.stack.enter_context(closing(self.watch_by(self.url, user, book_id, **options)))


@pytest.fixture
def stand(dsn: str, watch_by: Watch) -> Iterator[Stand]:
    yield from standing(dsn, watch_by)


def standing(dsn: str, watch_by: Watch, **settings: Any) -> Iterator[Stand]:
    with ExitStack() as stack:
        world = stack.enter_context(
            closing(World(dsn, **{"stream_keepalive_seconds": 0.05, "max_streams": 5} | settings))
        )
        gate = TcpGate(stack.enter_context(serving(world.app.api)))
        stack.callback(gate.shut)
        yield Stand(world=world, gate=gate, url=f"http://{gate.address}", watch_by=watch_by, stack=stack)


def until(watch: Iterator[Seen], *states: str) -> list[Seen]:
    """What is seen until one of these states is."""
    heard = []
    for seen in watch:
        heard.append(seen)
        if seen["state"] in states:
            return heard
    raise AssertionError(f"it ended after {[seen['state'] for seen in heard]}")


def states(heard: list[Seen]) -> list[str]:
    """Each once where it comes again and again."""
    told = [seen["state"] for seen in heard]
    return [state for n, state in enumerate(told) if n == 0 or told[n - 1] != state]


def test_a_book_is_heard_of_to_its_end(stand: Stand) -> None:
    book_id = stand.world.import_book(manuscript(3))
    watch = stand.watch(book_id, chapters=True)
    heard = until(watch, "live")
    stand.world.run()
    heard += until(watch, "done")

    assert states(heard)[-2:] == ["live", "done"]
    end = heard[-1]
    assert (end["book"]["status"], end["book"]["progress"], end["grid"]["embeddings"]) == ("completed", 100, "###")
    assert not list(watch), "it ends then"


def test_chapters_are_heard_of_by_number_and_those_that_went_meanwhile_are_gone(stand: Stand) -> None:
    book_id = stand.world.import_book(manuscript(3))
    stand.world.run()
    stand.world.import_book(manuscript(2), book_id=book_id)  # so that it is not done before chapters are heard of
    watch = stand.watch(book_id, chapters=True)
    assert numbers(next(seen for seen in watch if len(seen["chapters"]) == 3)) == [1, 2, 3]
    stand.gate.shut()
    until(watch, "offline")
    stand.world.run()
    stand.gate.open()
    assert numbers(until(watch, "done")[-1]) == [1, 2]


def numbers(seen: Seen) -> list[int]:
    return sorted(int(number) for number in seen["chapters"])


def test_a_lost_connection_is_told_and_comes_back(stand: Stand) -> None:
    book_id = stand.world.import_book(manuscript(3))
    watch = stand.watch(book_id)
    until(watch, "live")
    stand.gate.shut()
    lost = until(watch, "offline")[-1]
    assert lost["book"]["owner_uid"] == "ann", "what was seen stays"

    stand.world.run()
    stand.gate.open()
    assert until(watch, "done")[-1]["book"]["progress"] == 100


def test_an_api_that_is_not_there_yet_is_waited_for(stand: Stand) -> None:
    book_id = stand.world.import_book(manuscript(3))
    stand.gate.shut()
    watch = stand.watch(book_id)
    assert until(watch, "offline")[-1]["book"] is None
    stand.gate.open()
    assert until(watch, "live")[-1]["book"]["status"] in ("pending", "processing")


def test_a_deleted_book_is_told_as_deleted(stand: Stand) -> None:
    book_id = stand.world.import_book(manuscript(3))
    watch = stand.watch(book_id)
    until(watch, "live")
    stand.world.call("DELETE", f"/api/books/{book_id}")
    assert until(watch, *ENDS)[-1]["state"] == "deleted"
    assert not list(watch)


def test_a_reader_who_may_not_read_any_more_is_told_so(stand: Stand) -> None:
    book_id = stand.world.import_book(manuscript(3))
    stand.world.call("PUT", f"/api/books/{book_id}/readers", {"readers": ["ben"]})
    watch = stand.watch(book_id, user="ben")
    until(watch, "live")
    stand.world.call("PUT", f"/api/books/{book_id}/readers", {"readers": []})
    assert until(watch, *ENDS)[-1]["state"] == "denied"


def test_somebody_elses_book_is_denied_and_nothing_of_it_is_seen(stand: Stand) -> None:
    (only,) = list(stand.watch(stand.world.import_book(manuscript(3)), user="eve"))
    assert (only["state"], only["book"]) == ("denied", None)


def test_streams_that_end_in_time_are_followed_by_others_unnoticed(dsn: str, watch_by: Watch) -> None:
    for stand in standing(dsn, watch_by, stream_seconds=0.2):
        book_id = stand.world.import_book(manuscript(3))
        watch = stand.watch(book_id)
        heard = until(watch, "live")
        with stand.world.http.get(f"/api/books/{book_id}/events", headers={"Authorization": "Bearer ann"}) as other:
            assert b"time" in other.data, "a stream that began later has ended"
        stand.world.run()
        assert "offline" not in states(heard + until(watch, "done"))


def test_a_place_for_the_stream_is_waited_for(dsn: str, watch_by: Watch) -> None:
    for stand in standing(dsn, watch_by, max_streams=1):
        book_id = stand.world.import_book(manuscript(3))
        taken = stand.world.http.get(f"/api/books/{book_id}/events", headers={"Authorization": "Bearer ann"})
        watch = stand.watch(book_id)
        assert until(watch, "offline")[-1]["book"] is None
        taken.close()
        assert until(watch, "live")


@pytest.fixture
def stand_of_python(dsn: str) -> Iterator[Stand]:
    yield from standing(dsn, by_python)


def test_a_version_that_is_asked_for_is_awaited_and_not_taken_for_the_one_before(stand_of_python: Stand) -> None:
    stand = stand_of_python
    with Bindery(stand.url, "ann") as bindery:
        first = bindery.import_book(manuscript(2), title="Emma", idempotency_key="draft 1")
        stand.world.run()
        again = bindery.import_book(manuscript(3), book_id=first["book_id"])
    watch = stand.watch(first["book_id"], version=again["version"])
    assert until(watch, "live")
    stand.world.run()
    assert until(watch, "done")[-1]["book"]["version"] == 2


def test_python_imports_asks_and_searches(stand_of_python: Stand) -> None:
    stand = stand_of_python
    with Bindery(stand.url, "ann") as bindery:
        book = bindery.import_book(manuscript(2), title="Emma")
        stand.world.run()
        assert bindery.status(book["book_id"])["status"] == "completed"
        assert {hit["book_title"] for hit in bindery.search("a word", book_id=book["book_id"])["results"]} == {"Emma"}


def test_a_problem_is_raised_with_its_code(stand_of_python: Stand) -> None:
    with (
        Bindery(stand_of_python.url, "ann") as bindery,
        pytest.raises(BinderyError, match="no words") as problem,
    ):
        bindery.import_book(" ")
    assert (problem.value.status, problem.value.code) == (422, "empty_manuscript")
