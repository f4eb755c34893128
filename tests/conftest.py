"""What tests share. Each worker has a PostgreSQL of its own, and each test a database from a migrated template.

`./infra/test` shares the tests out among several workers: tests/support/sharing_out.py says how.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import uuid
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog

from infra.local.database import MIGRATIONS
from infra.local.emulators import Emulators, Missing, find_emulators, start_firestore, start_pubsub
from infra.local.postgres import THROWAWAY, Postgres
from infra.local.processes import Supervisor
from shared.adapters.postgres.migrations import migrate
from shared.log import Logs, configure_logging
from tests.support.fake_vertex import FakeVertex
from tests.support.lacking import lacking
from tests.support.sharing_out import SharingOut, cpus, in_order, stay_on_one_cpu
from tests.support.web_app import installed_packages
from tests.support.world import World

# Whoever starts a run in the background may have it ignore Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: two for each CPU, since half of the time a test waits for a process."""
    return 2 * len(cpus())


def pytest_configure(config: pytest.Config) -> None:
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        stay_on_one_cpu(int(worker.removeprefix("gw")))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharingOut:
    return SharingOut(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    files = [item.nodeid.partition("::")[0] for item in items]
    items[:] = [items[n] for n in in_order(files)]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    settings = {**THROWAWAY, "max_connections": "100"}
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
    _execute(postgres.dsn, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
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
        # Requests are made up from the OpenAPI document: no stream is to hold them up.
        made = World(dsn, max_books_under_way=100_000, stream_seconds=0.01)
        yield made
        made.close()


@pytest.fixture
def logs() -> Iterator[StringIO]:
    """What the functions log in the cloud, at the most talkative level."""
    out = StringIO()
    configure_logging(Logs(level="debug"), out)
    yield out
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def emulators() -> Emulators:
    found = find_emulators()
    if isinstance(found, Missing):
        lacking(f"no emulators: {found.reason}")
    return found


@pytest.fixture(scope="session")
def pubsub_host(emulators: Emulators) -> Iterator[str]:
    """Where the Pub/Sub emulator of this worker listens. A project of one's own keeps a test apart from others."""
    supervisor = Supervisor(lambda name, line: None)
    yield start_pubsub(supervisor, emulators)
    supervisor.close()


@pytest.fixture(scope="session")
def firestore_host(emulators: Emulators) -> Iterator[str]:
    """Where the Firestore emulator of this worker listens. A project of one's own keeps a test apart from others."""
    supervisor = Supervisor(lambda name, line: None)
    yield start_firestore(supervisor, emulators)
    supervisor.close()


@pytest.fixture(scope="session")
def web_sdk() -> Path:
    """The folder `node_modules` of what web apps are made of."""
    return installed_packages()


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
