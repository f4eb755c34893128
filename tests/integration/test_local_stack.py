"""PostgreSQL and processes of the local stack: they survive what they should, and nothing survives them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import psycopg
import pytest

from infra.local.postgres import AlreadyRunning, Postgres
from infra.local.processes import Command, Process, StartFailed, Supervisor


def test_rows_outlive_the_server(tmp_path: Path) -> None:
    for expected in (1, 2):
        with Postgres(tmp_path / "data") as server, psycopg.connect(server.dsn) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS seen (n int)")
            connection.execute("INSERT INTO seen VALUES (1)")
            assert connection.execute("SELECT count(*) FROM seen").fetchone() == (expected,)


def test_a_second_server_on_the_same_data_is_refused_in_words(tmp_path: Path) -> None:
    with Postgres(tmp_path / "data"), pytest.raises(AlreadyRunning, match="another process uses"):
        Postgres(tmp_path / "data")


def test_a_password_is_asked_for(tmp_path: Path) -> None:
    with Postgres(tmp_path / "data") as server:
        open_door = server.dsn.replace(server._password, "wrong")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(open_door)


def test_pgvector_is_there(tmp_path: Path) -> None:
    with Postgres(tmp_path / "data") as server, psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE EXTENSION vector")
        assert connection.execute("SELECT '[1,0]'::vector <=> '[0,1]'::vector").fetchone() == (1.0,)


def test_killing_the_owner_leaves_no_process_and_the_data_starts_again(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from infra.local.postgres import Postgres\n"
        "server = Postgres(Path(sys.argv[1])); print('up', flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "data")], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"
    family = psutil.Process(owner.pid).children(recursive=True)
    assert any("postgres" in p.name() for p in family)

    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    with Postgres(tmp_path / "data") as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_child_that_dies_is_started_again_and_its_owner_told() -> None:
    again, up = threading.Event(), threading.Event()
    supervisor = Supervisor(lambda name, line: up.set())
    script = "import time; print('hello', flush=True); time.sleep(600)"
    supervisor.start(Command(name="child", argv=[sys.executable, "-c", script]), again.set)
    first = supervisor.pid("child")
    assert up.wait(20)

    psutil.Process(first).children()[0].kill()
    assert again.wait(30)
    second = supervisor.pid("child")
    supervisor.close()
    assert second != first
    assert not psutil.pid_exists(second)


def test_a_child_that_never_serves_fails_with_its_last_words() -> None:
    command = Command(
        name="broken", argv=[sys.executable, "-c", "print('no such luck'); raise SystemExit(3)"], ready=lambda: False
    )
    process = Process(command, lambda name, line: None)
    with pytest.raises(StartFailed, match="no such luck"):
        process.wait_until_ready()


def test_a_child_that_ignores_the_signal_is_killed_with_its_own_children() -> None:
    script = (
        "import signal, subprocess, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\nprint('up', flush=True)\ntime.sleep(600)"
    )
    up = threading.Event()
    process = Process(
        Command(name="stubborn", argv=[sys.executable, "-c", script], grace=0.2), lambda n, line: up.set()
    )
    assert up.wait(20)
    family = psutil.Process(process.pid).children(recursive=True)

    process.stop()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
