"""The servers of functions on one machine: forked from one process, started again when they end, and gone with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import psutil
import pytest

from infra.local.processes import free_port, is_listening
from tests.support.chaos import end
from tests.support.waiting import poll, wait_gone

SECONDS = 60.0
BUSY = """
import functions_framework, os, select

@functions_framework.http
def busy(request):
    print("worker", os.getpid(), flush=True)
    with open(os.environ["GO"]) as go:  # a named pipe: until somebody writes to it
        return go.read()
"""
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")


class Servers:
    """One that serves `busy`, with the lines that it wrote."""

    def __init__(self, folder: Path) -> None:
        self.port, self.go = free_port(), folder / "go"
        (folder / "busy.py").write_text(BUSY)
        os.mkfifo(self.go)
        self.process = psutil.Popen(
            [sys.executable, "-m", "infra.local.function_servers", f"{folder / 'busy.py'}:{self.port}:2"],
            env=os.environ | {"GO": str(self.go)},
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        self._lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line.rstrip())

    def line(self) -> tuple[str, int, str]:
        """The next one: whose it is, by name and process, and what it says."""
        name, pid, text = self._lines.get(timeout=SECONDS).split(" ", 2)
        return name, int(pid), text

    def wait(self) -> None:
        for _ in poll(SECONDS, "the function to be served"):
            if is_listening(self.port):
                return

    @contextmanager
    def asked(self) -> Iterator[tuple[socket.socket, int]]:
        """A request that is under way, and the worker that has it."""
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            yield client, int(self.line()[2].split()[1])


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    made = Servers(tmp_path)
    with made.process:
        made.wait()
        yield made
        end([made.process])


@needs_linux
def test_a_busy_worker_ends_with_its_server_which_is_started_again(servers: Servers) -> None:
    name, server, text = servers.line()
    assert (name, text) == ("busy", "started")
    with servers.asked() as (_, worker):
        os.kill(server, signal.SIGKILL)

        wait_gone(server, worker)

    assert servers.line() == ("busy", server, "ended; starting it again")
    name, another, text = servers.line()
    assert (name, text, another != server) == ("busy", "started", True)
    servers.wait()
    with servers.asked() as (_, worker):
        assert psutil.Process(worker).ppid() == another


@needs_linux
def test_all_end_with_the_process_that_forked_them(servers: Servers) -> None:
    _, server, _ = servers.line()
    with servers.asked() as (_, worker):
        servers.process.kill()

        wait_gone(server, worker)


def test_a_request_that_is_under_way_is_answered_before_all_are_stopped(servers: Servers) -> None:
    _, server, _ = servers.line()
    with servers.asked() as (client, worker):
        os.killpg(servers.process.pid, signal.SIGTERM)
        servers.go.write_text("the answer")

        assert b"the answer" in b"".join(iter(lambda: client.recv(65_536), b""))
    assert servers.process.wait(SECONDS) == 0
    wait_gone(server, worker)


def test_functions_that_can_not_be_served_end_it_and_say_why(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import sys\nsys.exit('the configuration is wrong')")

    ended = subprocess.run(
        [sys.executable, "-m", "infra.local.function_servers", f"{tmp_path / 'broken.py'}:{free_port()}:2"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )

    assert ended.returncode == 1
    assert "the configuration is wrong" in ended.stdout
    assert "broken did not come up" in ended.stderr
