"""What every function says of itself, without a token: that it serves, and whether it can work."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import functions_framework
import psycopg
import pytest

from infra.local.database import MIGRATIONS
from shared import serving
from shared.adapters.postgres.database import Database
from shared.adapters.postgres.readiness import NEWEST_MIGRATION, PostgresReadiness
from shared.bootstrap import App
from shared.config import Config
from shared.ports import Missing

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"
NAMES = sorted(file.stem for file in FUNCTIONS.glob("[a-z]*.py"))
CLOUD = {"auth": "firebase", "push_audience": "a", "push_service_account": "b", "models": "fake", "project": "p"}
NOWHERE = "postgresql://bindery:hunter2@127.0.0.1:1/bindery"


@contextmanager
def function(name: str, dsn: str, **config: Any) -> Iterator[Any]:
    """A client of a function as its server has it."""
    with closing(App(Config(**{**CLOUD, "database_url": dsn, **config}))) as app:
        serving.install(app)
        try:
            made = functions_framework.create_app(name, str(FUNCTIONS / f"{name}.py"))  # type: ignore[no-untyped-call]
            yield made.test_client()
        finally:
            serving.install(None)


@pytest.mark.parametrize("name", NAMES)
def test_every_function_says_that_it_serves_and_asks_nobody(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PostgresReadiness, "missing", None)
    monkeypatch.setattr(Database, "_lend", None)

    with function(name, NOWHERE) as client:
        reply = client.get("/healthz")

    assert (reply.status_code, reply.json) == (200, {"status": "serves"})


@pytest.mark.parametrize("name", NAMES)
def test_every_function_says_that_it_can_work(name: str, dsn: str) -> None:
    with function(name, dsn) as client:
        reply = client.get("/readyz")

    assert (reply.status_code, reply.json) == (200, {"status": "ready"})
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", NAMES)
def test_every_function_names_the_database_that_is_away_and_nothing_else_of_it(name: str) -> None:
    with function(name, NOWHERE) as client:
        reply = client.get("/readyz")

    assert (reply.status_code, reply.json["code"], reply.json["dependency"]) == (503, "not_ready", "postgresql")
    assert reply.content_type == "application/problem+json"
    for secret in ("hunter2", "127.0.0.1", "bindery", "psycopg"):
        assert secret not in reply.text


def test_a_database_without_a_table_lacks_migrations(empty_dsn: str) -> None:
    assert PostgresReadiness(Database(empty_dsn)).missing() is Missing.MIGRATIONS


def test_a_database_that_is_older_than_the_code_lacks_migrations_and_a_newer_one_does_not(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO schema_migrations (name) VALUES ('9999_of_the_next_release.sql')")
        assert PostgresReadiness(Database(dsn)).missing() is None
        connection.execute("DELETE FROM schema_migrations WHERE name = %s", (NEWEST_MIGRATION,))
        assert PostgresReadiness(Database(dsn)).missing() is Missing.MIGRATIONS


def test_the_code_wants_the_newest_migration() -> None:
    assert max(file.name for file in MIGRATIONS.glob("*.sql")) == NEWEST_MIGRATION


def test_a_database_that_never_answers_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dsn = f"postgresql://bindery@127.0.0.1:{silent.getsockname()[1]}/bindery"
        readiness = PostgresReadiness(Database(dsn), answer_seconds=0.2)

        assert [readiness.missing(), readiness.missing()] == [Missing.POSTGRESQL] * 2


def test_many_who_ask_at_once_cost_the_database_one_connection(dsn: str) -> None:
    class Counting(psycopg.Connection[Any]):
        made = 0

        @classmethod
        def connect(cls, *about: Any, **more: Any) -> Any:
            cls.made += 1
            return super().connect(*about, **more)

    readiness = PostgresReadiness(Database(dsn, connection_class=lambda: Counting))

    assert {readiness.missing() for _ in range(20)} == {None}
    assert Counting.made == 1


def test_a_database_that_comes_back_is_told_of(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.adapters.postgres.readiness.FRESH_SECONDS", 0.0)
    database = Database(NOWHERE)
    readiness = PostgresReadiness(database)
    assert readiness.missing() is Missing.POSTGRESQL

    vars(database)["_dsn"] = dsn

    assert readiness.missing() is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_nobody_gets_past_a_token_by_the_path_of_a_probe(name: str, path: str) -> None:
    with function(name, NOWHERE) as client:
        reply = client.post(path, json={"message": {}})

    assert reply.status_code == 401


def test_on_one_machine_a_probe_is_for_this_machine(dsn: str) -> None:
    with function("api", dsn, auth="local") as client:
        assert client.get("/readyz", headers={"Host": "evil.example"}).status_code == 403
        assert client.get("/readyz").status_code == 200
