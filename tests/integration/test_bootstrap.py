"""The composition root: each part is made once, whatever asks for it, and only when something does."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from shared import serving
from shared.adapters.fake_models import FakeEmbedder
from shared.adapters.google.vertex_embedder import VertexEmbedder
from shared.adapters.local_models.embedder import LocalEmbedder
from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.live_documents import MemoryLiveDocuments
from shared.adapters.postgres.database import Database
from shared.bootstrap import App, Overrides, adapters
from shared.bootstrap.adapters import Adapters
from shared.config import Config, read_config
from shared.domain.embeddings import ModelKey

THREADS = 20


@pytest.fixture
def databases(monkeypatch: pytest.MonkeyPatch) -> list[Database]:
    """Those that were made, in order."""
    made: list[Database] = []
    go_on = threading.Barrier(2, timeout=0.05)

    class Counted(Database):
        def __init__(self, *about: Any) -> None:
            made.append(self)
            try:
                go_on.wait()  # so long that others would come this far
            except threading.BrokenBarrierError:
                go_on.reset()
            super().__init__(*about)

    monkeypatch.setattr(adapters, "Database", Counted)
    return made


def config(dsn: str) -> Config:
    return read_config(project="p", database_url=dsn, auth="local", models="fake")


def overrides() -> Overrides:
    return {"publisher": MemoryBroker(), "live_documents": MemoryLiveDocuments()}


def test_twenty_first_requests_at_once_make_one_of_each_part(dsn: str, databases: list[Database]) -> None:
    start = threading.Barrier(THREADS)

    def ask(_: int) -> int:
        start.wait(30)
        return serving.serve_api(Request(EnvironBuilder(path="/api/books").get_environ())).status_code

    with closing(App(config(dsn), overrides())) as app, installed(app), ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(ask, range(THREADS)))

        assert answers == [200] * THREADS
        assert databases == [app.database]


@contextmanager
def installed(app: App) -> Iterator[None]:
    serving.install(app)
    try:
        yield
    finally:
        serving.install(None)


def test_a_part_is_the_same_for_all_that_use_it(dsn: str) -> None:
    with closing(App(config(dsn), overrides())) as app:
        assert app.push.runner.outbox is app.control.outbox is app.outbox
        assert app.store is app.outbox.store


def test_what_nobody_asks_for_is_not_made(dsn: str, databases: list[Database]) -> None:
    app = App(config(dsn), overrides())
    app.close()

    assert databases == []


def test_an_override_stands_in_for_its_part(dsn: str) -> None:
    broker = MemoryBroker()
    with closing(App(config(dsn), {**overrides(), "publisher": broker})) as app:
        assert app.outbox.publisher is broker


def test_the_pools_threads_end_before_the_interpreter(dsn: str) -> None:
    """Else, since Python 3.13, a function that is told to end takes longer than it is given."""
    code = f"""
import atexit, threading
atexit.register(lambda: print([thread.name for thread in threading.enumerate()]))
from shared.adapters.postgres.database import Database
database = Database({dsn!r})
with database.transaction() as connection:
    connection.execute("SELECT 1")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "['MainThread']\n"


def test_what_reduces_contexts_without_a_model_is_loaded_when_one_is_refused(dsn: str) -> None:
    """Not before: each cold start would pay for it."""
    code = f"""
import sys
from shared.adapters.fake_models import FakeEmbedder
from shared.adapters.google.vertex_embedder import VertexEmbedder
from shared.adapters.local_models.embedder import LocalEmbedder
from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.live_documents import MemoryLiveDocuments
from shared.bootstrap import App
from shared.config import read_config
config = read_config(project="p", database_url={dsn!r}, auth="local", models="vertex")
app = App(config, {{"publisher": MemoryBroker(), "live_documents": MemoryLiveDocuments()}})
app.push
print("shared.adapters.local_models.context" in sys.modules)
print(app.fallback.model)
app.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "False\nbindery-local-context/1\n"


LOCAL = LocalEmbedder().model.key
GECKO = ModelKey(name="text-embedding-004", version="1")


@pytest.mark.parametrize(
    ("models", "asked", "answers"),
    [
        ("vertex", ModelKey(name="text-embedding-005", version="1"), VertexEmbedder),
        ("vertex", GECKO, VertexEmbedder),
        ("vertex", replace(GECKO, version="2"), None),
        ("vertex", LOCAL, LocalEmbedder),
        ("local", LOCAL, LocalEmbedder),
        ("local", replace(LOCAL, version="another"), None),
        ("local", GECKO, None),
        ("fake", FakeEmbedder().model.key, FakeEmbedder),
    ],
)
def test_a_model_of_before_is_asked_where_it_can_be_and_only_in_its_own_version(
    models: Any, asked: ModelKey, answers: type | None
) -> None:
    settings = read_config(project="p", database_url="postgresql://localhost/b", auth="local", models=models)
    embedders = Adapters(settings).embedders

    embedder = embedders(asked)
    assert type(embedder) is (answers or type(None))
    assert embedders(asked) is embedder
    assert embedder is None or embedder.model.key == asked


def test_the_embedder_that_is_configured_answers_for_its_own_model(dsn: str) -> None:
    own = FakeEmbedder()

    assert Adapters(config(dsn), Overrides(embedder=own)).embedders(own.model.key) is own
