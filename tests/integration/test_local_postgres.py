"""The local PostgreSQL: one server for many processes, that keeps its rows and ends with its owner."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Queue

import psutil
import psycopg
import pytest

from infra.local import postgres as local_postgres
from infra.local.locks import is_alive
from infra.local.postgres import THROWAWAY, AlreadyRunning, Postgres
from infra.local.processes import StartFailed
from tests.support.waiting import wait_gone

DEADLINE = 60
ROOT = Path(__file__).resolve().parents[2]
STARTER = """
import sys
from pathlib import Path
from infra.local.postgres import THROWAWAY, Postgres
with Postgres.start(Path(sys.argv[1]), settings=THROWAWAY) as server:
    print(server.dsn, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One folder for the tests of this file, since making one takes most of their time."""
    folder = tmp_path_factory.mktemp("postgres") / "data"
    with Postgres(folder, settings=THROWAWAY) as server:
        # Of root's, whose temporary folders are closed to the server's user, they are elsewhere.
        real = server.data
    yield folder
    shutil.rmtree(real)


@contextmanager
def starter(data: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that starts the server, prints its DSN, and stops when its standard input closes."""
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(data)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ask(dsn: str, statement: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(statement).fetchone()
    return row[0] if row else None


def server_process(server: Postgres) -> psutil.Process:
    return psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0]))


def test_rows_outlive_a_restart(data: Path) -> None:
    with Postgres(data, settings=THROWAWAY) as server, psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")

    with Postgres(data, settings=THROWAWAY) as server:
        assert ask(server.dsn, "SELECT answer FROM kept") == 42


def test_it_has_pgvector_with_iterative_scans(data: Path) -> None:
    with Postgres(data, settings=THROWAWAY) as server, psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()

    assert row is not None
    assert tuple(int(part) for part in row[0].split(".")) >= (0, 8)


def test_full_text_search_takes_a_dash_for_a_gap_and_an_accent_for_a_letter(data: Path) -> None:
    with Postgres(data, settings=THROWAWAY) as server:
        assert ask(server.dsn, "SELECT tsvector_to_array(to_tsvector('simple', 'Élan—naïve'))") == [
            "naïve",
            "élan",
        ]


def test_its_settings_are_those_asked_for(data: Path) -> None:
    with Postgres(data, settings={**THROWAWAY, "max_connections": "17"}) as server:
        assert ask(server.dsn, "SHOW fsync") == "off"
        assert ask(server.dsn, "SHOW max_connections") == "17"


def test_it_listens_on_the_loopback_interface_only_and_asks_for_the_password(data: Path) -> None:
    with Postgres(data, settings=THROWAWAY) as server:
        password = (server.data / ".password").read_text()

        assert ask(server.dsn, "SHOW listen_addresses") == "127.0.0.1"
        assert stat.S_IMODE((server.data / ".password").stat().st_mode) == 0o600
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.dsn.replace(f":{password}@", "@"), passfile=os.devnull)


def test_two_processes_that_start_it_at_once_get_the_same_server(data: Path) -> None:
    with starter(data) as one, starter(data) as other:
        dsns = {said(one), said(other)}

        assert len(dsns) == 1
        assert ask(dsns.pop(), "SELECT 1") == 1


def test_one_that_attached_does_not_stop_the_server_of_its_owner(data: Path) -> None:
    with Postgres(data, settings=THROWAWAY) as owner:
        with Postgres.start(data) as attached:
            assert attached.dsn == owner.dsn

        assert ask(owner.dsn, "SELECT 1") == 1


def test_one_who_wants_it_for_himself_is_told_that_it_runs(data: Path) -> None:
    with Postgres(data, settings=THROWAWAY), pytest.raises(AlreadyRunning, match=str(data)):
        Postgres(data)


def test_a_killed_owner_leaves_no_server_and_the_next_one_starts_at_once(data: Path) -> None:
    with starter(data) as owner:
        dsn = said(owner)
        attached = Postgres.start(data)
        server = server_process(attached)
        owner.kill()

        with Postgres(data, settings=THROWAWAY) as heir:
            assert not is_alive(server.pid)
            assert heir.dsn != dsn
            assert ask(heir.dsn, "SELECT 1") == 1
    attached.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_owner_that_is_told_to_end_leaves_no_server(data: Path, number: signal.Signals) -> None:
    with starter(data) as owner:
        said(owner)
        server = server_process(Postgres.start(data))
        owner.send_signal(number)

        wait_gone(server.pid)


def test_a_killed_server_is_started_again_under_the_same_dsn(data: Path) -> None:
    lines: Queue[str] = Queue()
    with Postgres(data, settings=THROWAWAY, on_line=lambda name, line: lines.put(line)) as server:
        killed = server_process(server)
        killed.kill()
        wait_gone(killed.pid)
        while "ready to accept connections" not in lines.get(timeout=DEADLINE):
            pass
        while "ready to accept connections" not in lines.get(timeout=DEADLINE):
            pass

        assert ask(server.dsn, "SELECT 1") == 1


def test_a_server_whose_watchdog_was_killed_too_is_ended_by_the_next_owner(data: Path) -> None:
    with starter(data) as owner:
        said(owner)
        orphan = server_process(Postgres.start(data))
        watchdog = psutil.Process(orphan.ppid())
        owner.send_signal(signal.SIGSTOP)  # lest it starts the server again
        watchdog.kill()
        owner.kill()

        with Postgres(data, settings=THROWAWAY) as heir:
            assert not is_alive(orphan.pid)
            assert ask(heir.dsn, "SELECT 1") == 1


def test_a_pid_file_that_names_another_program_does_not_keep_it_from_starting(data: Path) -> None:
    with Postgres(data, settings=THROWAWAY) as server:
        pid_file = server.data / "postmaster.pid"
        text = pid_file.read_text()
    pid_file.write_text(text.replace(text.split()[0], str(os.getpid()), 1))

    with Postgres(data, settings=THROWAWAY) as server:
        assert ask(server.dsn, "SELECT 1") == 1


def test_it_takes_another_port_if_somebody_was_faster(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        free = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        ports = [free.getsockname()[1], taken.getsockname()[1]]
        free.close()
        monkeypatch.setattr(local_postgres, "free_port", ports.pop)

        with Postgres(data, settings=THROWAWAY) as server:
            assert not ports
            assert ask(server.dsn, "SELECT 1") == 1


def test_a_wrong_setting_fails_with_the_servers_own_words(data: Path) -> None:
    with pytest.raises(StartFailed, match="no_such_setting"):
        Postgres(data, settings={"no_such_setting": "on"})


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    with ExitStack() as stack:
        if os.geteuid() == 0:
            # Of all folders of root's, the server's user can reach those below /var/tmp.
            tmp_path = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
            tmp_path.chmod(0o755)
        letter = tmp_path / "letters" / "dear.txt"
        letter.parent.mkdir()
        letter.write_text("Dear Harriet")

        with pytest.raises(StartFailed, match="letters"):
            Postgres(letter.parent)

        assert letter.read_text() == "Dear Harriet"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives the server to another user")
def test_what_the_servers_user_cant_reach_goes_elsewhere_and_no_folder_is_opened(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    told: list[str] = []

    with Postgres(closed / "data", on_line=lambda name, line: told.append(line)) as server:
        real = server.data
        assert ask(server.dsn, "SELECT 1") == 1
        assert server_process(server).username() != "root"

    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert real.is_relative_to("/var/tmp")
    assert any(str(real) in line for line in told)
    shutil.rmtree(real)
