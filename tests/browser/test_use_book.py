"""The React hook and its example in real Chromium, by Firestore and by server-sent events."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from werkzeug.wrappers import Request, Response

from shared.adapters.google.firestore import FirestoreLiveDocuments
from shared.adapters.memory.live_documents import MemoryLiveDocuments
from shared.bootstrap import Overrides
from tests.support.browser import launched
from tests.support.firestore_stack import EveryStore
from tests.support.serving import serving
from tests.support.tcp_gate import TcpGate
from tests.support.web_app import link_node_modules
from tests.support.world import World, manuscript

EXAMPLE = Path(__file__).parents[2] / "infra" / "clients" / "examples" / "book-progress.jsx"
DEADLINE = 90_000
LOST, DENIED, DELETED = "The connection is lost", "There is no such book, or it is not yours.", "The book was deleted."


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def script(web_sdk: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The app as one file."""
    folder = tmp_path_factory.mktemp("app")
    link_node_modules(folder, web_sdk)
    for source in (EXAMPLE, Path(__file__).with_name("use_book.jsx")):
        shutil.copy(source, folder)
    how = ["--bundle", "--format=esm", "--jsx=automatic", "--log-level=warning"]
    command = ["node", str(folder / "node_modules" / "esbuild" / "bin" / "esbuild"), "use_book.jsx", *how]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A page that shows books by a source; a gate is before the API."""

    world: World
    gate: TcpGate | None
    page: Page
    source: str
    asked: dict[str, Any]

    def show(self, book_id: str, user: str = "ann") -> None:
        arguments = [self.source, {**self.asked, "uid": user}, book_id]
        self.page.evaluate("([source, asked, book]) => show(window[source](asked), book)", arguments)

    def lose_connection(self) -> None:
        """Firebase's SDK takes half a minute to notice that a server is gone, so the machine goes offline."""
        self.gate.shut() if self.gate else self.page.context.set_offline(True)

    def find_connection(self) -> None:
        self.gate.open() if self.gate else self.page.context.set_offline(False)

    def see(self, text: str) -> None:
        expect(self.page.locator("main")).to_contain_text(text, timeout=DEADLINE)


@pytest.fixture(params=["events", "firestore"])
def shown(
    request: pytest.FixtureRequest,
    dsn: str,
    script: str,
    browser: Browser,
    firestore_host: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shown]:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)
    project = f"test-{uuid.uuid4().hex[:8]}"

    @Request.application
    def app(request: Request) -> Response:
        if request.path == "/app.js":
            return Response(script, mimetype="text/javascript")
        page = '<!doctype html><meta charset="utf-8"><script type="module" src="app.js"></script>'
        return Response(page, mimetype="text/html")

    with ExitStack() as stack:
        origin = f"http://127.0.0.1:{stack.enter_context(serving(app))}"
        memory = MemoryLiveDocuments()
        every = EveryStore(memory, FirestoreLiveDocuments(project))
        ports: Overrides = {"live_documents": every, "live_books": memory}
        made = World(dsn, overrides=ports, allowed_origins=origin, stream_keepalive_seconds=0.2)
        world = stack.enter_context(closing(made))
        asked: dict[str, Any]
        gate = None
        if request.param == "events":
            gate = TcpGate(stack.enter_context(serving(world.app.api)))
            stack.callback(gate.shut)
            asked = {"url": f"http://{gate.address}"}
        else:
            host, _, port = firestore_host.rpartition(":")
            asked = {"host": host, "port": int(port), "project": project}
        page = stack.enter_context(browser.new_page())
        page.goto(origin)
        page.wait_for_function("() => 'show' in window")
        yield Shown(world=world, gate=gate, page=page, source=request.param, asked=asked)


def test_a_page_shows_a_book_while_it_is_made(shown: Shown) -> None:
    book_id = shown.world.import_book(manuscript(3))
    shown.show(book_id)
    shown.see("0 of ")
    shown.world.run()
    shown.see("completed")
    assert shown.page.locator("progress").get_attribute("value") == "100"


def test_a_book_that_is_somebody_elses_is_denied(shown: Shown) -> None:
    shown.show(shown.world.import_book(manuscript(3)), user="eve")
    shown.see(DENIED)


def test_a_book_that_is_deleted_is_told_as_deleted(shown: Shown) -> None:
    book_id = shown.world.import_book(manuscript(3))
    shown.show(book_id)
    shown.see("0 of ")
    shown.world.call("DELETE", f"/api/books/{book_id}")
    shown.see(DELETED)


def test_a_lost_connection_is_told_and_comes_back(shown: Shown) -> None:
    book_id = shown.world.import_book(manuscript(3))
    shown.show(book_id)
    shown.see("0 of ")
    shown.lose_connection()
    shown.see(LOST)
    shown.world.run()
    shown.find_connection()
    shown.see("completed")
    expect(shown.page.locator("output")).to_have_count(0)


def test_another_book_takes_its_place_and_nothing_of_the_one_before_is_seen(shown: Shown) -> None:
    first, second = shown.world.import_book(manuscript(3)), shown.world.import_book(manuscript(3))
    shown.show(first)
    shown.see("0 of ")
    shown.world.call("DELETE", f"/api/books/{first}")
    shown.show(second)
    shown.world.run()
    shown.see("completed")


def test_a_book_that_is_not_there_yet_is_waited_for(shown: Shown) -> None:
    """Of Firestore alone: the API knows a book from its import on."""
    if shown.source == "events":
        return
    world, every = shown.world, shown.world.app.live_documents
    assert isinstance(every, EveryStore)
    stores, every.stores = every.stores, []
    book_id = world.import_book(manuscript(3))
    shown.show(book_id)
    shown.see("…")
    every.stores = stores
    world.run()
    shown.see("completed")
