"""One PostgreSQL for the whole run; a database of its own, from a migrated template, for each test."""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from infra.local.database import MIGRATIONS
from infra.local.emulators import Emulators, Missing, find_emulators
from infra.local.postgres import Postgres
from shared.adapters.postgres.migrations import migrate
from tests.support.fake_vertex import FakeVertex
from tests.support.world import World


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    settings = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "100"}
    with Postgres(tmp_path_factory.mktemp("postgres") / "data", settings=settings) as server:
        _execute(server.dsn, "CREATE DATABASE template_bindery")
        migrate(server.dsn_of("template_bindery"), MIGRATIONS)
        yield server
    # For root, it may lie outside the temporary folder.
    shutil.rmtree(server.data, ignore_errors=True)


@pytest.fixture
def empty_dsn(postgres: Postgres) -> Iterator[str]:
    """A database without a table."""
    yield from _database(postgres, "template1")


@pytest.fixture
def dsn(postgres: Postgres) -> Iterator[str]:
    """A database with all migrations applied."""
    yield from _database(postgres, "template_bindery")


def _database(postgres: Postgres, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    _execute(postgres.dsn, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield postgres.dsn_of(name)
    _execute(postgres.dsn, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
def world(dsn: str) -> Iterator[World]:
    made = World(dsn)
    yield made
    made.close()


@pytest.fixture(scope="module")
def lasting_world(postgres: Postgres) -> Iterator[World]:
    """One for a whole file, for many small tests that clean up after themselves."""
    for dsn in _database(postgres, "template_bindery"):
        made = World(dsn, max_books_under_way=100_000)
        yield made
        made.close()


@pytest.fixture(scope="session")
def emulators() -> Emulators:
    found = find_emulators()
    if isinstance(found, Missing):
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs the emulators: {found.reason}")
        pytest.skip(f"no emulators: {found.reason}")
    return found


@pytest.fixture
def sample() -> Path:
    return Path(__file__).resolve().parents[1] / "infra" / "local" / "sample.md"


@pytest.fixture
def vertex() -> Iterator[FakeVertex]:
    server = FakeVertex()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
