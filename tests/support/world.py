"""Runs Bindery with real stages, runner, SQL and HTTP, and a broker, a clock and models that the test controls."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from flask import Request
from psycopg.rows import dict_row
from werkzeug.test import EnvironBuilder

from shared.adapters.fake_models import FakeContextExtractor, FakeEmbedder
from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.live_documents import MemoryLiveDocuments
from shared.adapters.postgres.database import CONNECT_SECONDS, DEFAULT_LIMITS, Database
from shared.adapters.postgres.sessions import SessionLimits
from shared.bootstrap import App, Overrides
from shared.config import Config
from shared.domain.errors import Unauthenticated, Unavailable
from shared.domain.identity import Caller
from shared.domain.push_envelope import write_envelope
from shared.domain.stages import STAGES, JobType
from shared.pipeline.at_once import outcome_of
from shared.ports import Document, Message
from tests.support.waiting import poll


class HeldBroker:
    """Keeps what is published until the test delivers it."""

    def __init__(self) -> None:
        self.waiting: list[Message] = []
        self.published: list[Message] = []
        self.down = False

    def publish(self, messages: Sequence[Message]) -> None:
        if self.down:
            raise Unavailable("the broker is down")
        self.waiting += messages
        self.published += messages


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def clocked(clock: Callable[[], datetime]) -> Callable[[], type[psycopg.Connection[Any]]]:
    """Connections to a PostgreSQL whose clock is this one: for `Database`."""

    class Clocked(psycopg.Connection[Any]):
        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            return super().execute(query.replace("clock_timestamp()", f"timestamptz '{clock()}'"), *args, **kwargs)

    return lambda: Clocked


def one_by_one(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """In place of `at_once`, for tests that go step by step."""
    return [outcome_of(call) for call in calls]


class FakeAuthenticator:
    """`Bearer NAME` is that user, and `root` an administrator."""

    def authenticate(self, authorization: str | None) -> Caller:
        if not authorization or not authorization.startswith("Bearer "):
            raise Unauthenticated("send a token")
        uid = authorization.removeprefix("Bearer ")
        return Caller(uid=uid, admin=uid == "root")


class RecordingLiveDocuments(MemoryLiveDocuments):
    """Remembers every document that it was given, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Document] = []
        self.down = False

    def put(self, documents: Sequence[Document]) -> None:
        if self.down:
            raise Unavailable("the live documents are down")
        self.history += documents
        super().put(documents)

    def lose_all(self) -> None:
        self.clear()


class World:
    def __init__(
        self,
        dsn: str,
        embedder: FakeEmbedder | None = None,
        overrides: Overrides | None = None,
        *,
        pool_size: int = 8,
        connect_seconds: int = CONNECT_SECONDS,
        limits: SessionLimits = DEFAULT_LIMITS,
        **config: Any,
    ) -> None:
        """`overrides` replaces ports by name. PostgreSQL's clock is the world's. Each chapter has a job of its own, unless
        `config` says otherwise."""
        self.dsn = dsn
        self.broker, self.clock, self.live_documents = HeldBroker(), Clock(), RecordingLiveDocuments()
        self.embedder, self.extractor = embedder or FakeEmbedder(), FakeContextExtractor()
        settings = Config(
            project="test", database_url=dsn, auth="local", models="fake", **{"calls_at_once": 1} | config
        )
        self.app = App(
            settings,
            {
                "database": Database(dsn, pool_size, clocked(self.clock), connect_seconds, limits),
                "publisher": self.broker,
                "live_books": self.live_documents,
                "live_documents": self.live_documents,
                "seekable_broker": MemoryBroker(),
                "embedder": self.embedder,
                "extractor": self.extractor,
                "clock": self.clock,
                "random": lambda: 1.0,
                "authenticator": FakeAuthenticator(),
                "at_once": one_by_one,
                **(overrides or {}),
            },
        )
        self.http = self.app.api.test_client()

    def close(self) -> None:
        self.app.close()

    def post(self, body: Any, user: str = "ann", **headers: str) -> Any:
        known = {"Authorization": f"Bearer {user}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        return self.http.post("/api/books/import", json=body, headers=known)

    def get(self, path: str, user: str = "ann", **query: Any) -> Any:
        return self.http.get(path, query_string=query or None, headers={"Authorization": f"Bearer {user}"})

    def call(self, method: str, path: str, body: Any = None, user: str = "ann") -> Any:
        return self.http.open(path, method=method, json=body, headers={"Authorization": f"Bearer {user}"})

    def import_book(self, content: str, title: str | None = "A Book", user: str = "ann", **more: Any) -> str:
        """Post it, and return the book's id."""
        reply = self.post({"title": title, "content": content, **more}, user=user)
        assert reply.status_code == 202, reply.text
        return str(reply.json["book_id"])

    def status(self, book_id: str, user: str = "ann") -> Any:
        return self.get(f"/api/books/{book_id}/status", user=user).json

    def deliver(self, message: Message, attempt: int = 1) -> int:
        """Push one message to its function, and return the HTTP status."""
        topic = JobType(message.topic)
        envelope = write_envelope(
            json.dumps(message.data).encode(),
            message.attributes,
            message_id=f"m{id(message)}",
            subscription=STAGES[topic].subscription,
            delivery_attempt=attempt,
        )
        return int(self.push(topic, envelope).status_code)

    def push(self, topic: JobType, envelope: Any) -> Any:
        return self.push_bytes(topic, json.dumps(envelope).encode())

    def push_bytes(self, topic: JobType, body: bytes) -> Any:
        builder = EnvironBuilder(method="POST", data=body, content_type="application/json")
        request = Request(builder.get_environ())
        if topic is JobType.DEAD_LETTER:
            return self.app.push.dead_letter(request)
        if topic is JobType.NOTIFICATIONS:
            return self.app.push.notify(request)
        return self.app.push.stage(request, topic)

    def take(self, topic: JobType) -> Message:
        """Remove the oldest waiting message of a topic, and return it."""
        message = next(m for m in self.broker.waiting if m.topic == topic)
        self.broker.waiting.remove(message)
        return message

    def run(self, shuffle: random.Random | None = None, copies: int = 1) -> None:
        """Deliver until nothing waits; what is refused is delivered again when its backoff is over."""
        for _ in range(2000):
            if not self.broker.waiting:
                return
            batch, self.broker.waiting = self.broker.waiting * copies, []
            if shuffle:
                shuffle.shuffle(batch)
            refused = [m for m in batch if self.deliver(m) >= 300]
            if refused:
                self.clock.advance(60)
            self.broker.waiting += refused
        raise AssertionError("messages go round and round")

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.dsn, row_factory=dict_row) as connection:
            return list(connection.execute(query, values))


def await_lock(world: World, sessions: int = 1) -> None:
    """Wait until so many sessions of the database wait for another's lock."""
    for _ in poll(20, "somebody to wait for a lock"):
        if len(world.rows("SELECT DISTINCT pid FROM pg_locks WHERE NOT granted")) >= sessions:
            return


def manuscript(chapters: int = 5, words: int = 450, changed: Sequence[int] = (), name: str = "") -> str:
    """Return a book whose chapters all differ; those in `changed` differ from the same chapter without it.

    Books of different names have no chapter in common.
    """
    parts = []
    for n in range(1, chapters + 1):
        seed = f"{name}{n}-again" if n in changed else f"{name}{n}"
        source = random.Random(seed)
        sentences = [
            " ".join(source.choice(_WORDS) for _ in range(9)).capitalize() + "." for _ in range(max(1, words // 9))
        ]
        parts.append(f"CHAPTER {n}\n\n" + " ".join(sentences))
    return "\n\n".join(parts) + "\n"


_WORDS = [
    "harbour",
    "lantern",
    "paper",
    "winter",
    "ledger",
    "window",
    "silver",
    "captain",
    "letter",
    "promise",
    "river",
    "garden",
    "bridge",
    "stone",
]
