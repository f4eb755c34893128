"""Serves functions, each by `functions_framework` in a process of its own: `function_servers SOURCE:PORT:THREADS...`

What they share is imported once, and each server is forked from that: all start within a second, and share most of
their memory. One that ends is started again. They end with this process, and a server's worker with its server: one
that is busy would stay for as long as its requests take, though its answers go nowhere, and would keep the port.

Each line that a server writes is written as `NAME PID LINE`, as is the first one, which tells of its start.
"""

from __future__ import annotations

import gc
import importlib
import os
import runpy
import selectors
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from infra.local.processes import LONG_ENOUGH_SECONDS, is_listening, restart_seconds
from infra.local.watchdog import die_with_parent

# What the functions import now or at their first request. Nothing of it connects, or starts a thread.
_SHARED = (
    "functions_framework._http.gunicorn",
    "google.cloud.firestore",
    "google.cloud.pubsub_v1",
    "gunicorn.workers.gthread",
    "shared.adapters.google.firestore",
    "shared.adapters.google.pubsub_publisher",
    "shared.bootstrap.adapters",
    "shared.bootstrap.app",
    "shared.bootstrap.use_cases",
    "shared.http.api",
    "shared.http.push",
    "shared.serving",
)
_LOOK_SECONDS = 0.03

_parent = 0


def _bind_to_parent() -> None:
    """Runs in each server that is forked, and in its workers. What those fork is left alone: their threads come and
    go."""
    global _parent
    parent, _parent = _parent, 0
    if parent:
        die_with_parent(parent, signal.SIGKILL)


class _Server:
    """A function's server: `output` is the pipe that it and its workers write to, which ends when all of them have."""

    def __init__(self, argument: str) -> None:
        self.source, port, self._threads = argument.rsplit(":", 2)
        self.port = int(port)
        self.name = Path(self.source).stem
        self.pid = 0
        self.output = -1
        self.due = 0.0
        self._failures = 0
        self._rest = b""

    def start(self) -> None:
        global _parent
        self.output, output = os.pipe()
        _parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        self.pid = os.fork()
        if not self.pid:
            self._serve(output)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os.close(output)
        self._started = time.monotonic()
        self.tell(b"started")

    def _serve(self, output: int) -> NoReturn:
        global _parent
        _parent = os.getpid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ |= {"FUNCTION_TARGET": self.name, "FUNCTION_SOURCE": self.source, "WORKERS": "1"}
        os.environ["THREADS"] = self._threads
        sys.argv = ["functions_framework", "--host=127.0.0.1", f"--port={self.port}"]
        runpy.run_module("functions_framework", run_name="__main__", alter_sys=True)
        sys.exit()

    def pass_on(self) -> bool:
        """Write what it wrote. False if it has ended."""
        read = os.read(self.output, 65_536)
        *lines, self._rest = (self._rest + (read or b"\n" if self._rest else read)).split(b"\n")
        for line in lines:
            self.tell(line)
        return bool(read)

    def tell(self, line: bytes) -> None:
        sys.stdout.buffer.write(b"%s %d %s\n" % (self.name.encode(), self.pid, line))
        sys.stdout.buffer.flush()

    def clear_away(self) -> None:
        """Take note of its end, and of when it is due again."""
        os.close(self.output)
        os.waitpid(self.pid, 0)
        now = time.monotonic()
        if now - self._started >= LONG_ENOUGH_SECONDS:
            self._failures = 0
        self.due = now + restart_seconds(self._failures)
        self._failures += 1


class _Stopped(BaseException):
    """Raised by SIGTERM, which the whole process group gets."""


def main(arguments: list[str]) -> None:
    for module in _SHARED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # else the first collection in each server would copy what they share
    os.register_at_fork(after_in_child=_bind_to_parent)
    servers = [_Server(argument) for argument in arguments]
    signal.signal(signal.SIGTERM, _stop)
    with selectors.DefaultSelector() as selector:
        try:
            _keep_serving(servers, selector)
        except _Stopped:
            while selector.get_map():
                _pass_on(selector, None)


def _stop(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stopped


def _keep_serving(servers: list[_Server], selector: selectors.BaseSelector) -> NoReturn:
    """Ends the process if one of them does not come up the first time."""
    starting = list(servers)
    for server in servers:
        _start(server, selector)
    while True:
        starting = [server for server in starting if not is_listening(server.port)]
        resting = [server for server in servers if server.due]
        pause = min((server.due - time.monotonic() for server in resting), default=None)
        for server in _pass_on(selector, _LOOK_SECONDS if starting else pause):
            if server in starting:
                sys.exit(f"{server.name} did not come up")
            server.tell(b"ended; starting it again")
        for server in resting:
            if server.due <= time.monotonic():
                _start(server, selector)


def _start(server: _Server, selector: selectors.BaseSelector) -> None:
    server.due = 0.0
    server.start()
    selector.register(server.output, selectors.EVENT_READ, server)


def _pass_on(selector: selectors.BaseSelector, seconds: float | None) -> list[_Server]:
    """Write what the servers write, for as long as nothing comes; return those that have ended."""
    ended = [key.data for key, _ in selector.select(seconds) if not key.data.pass_on()]
    for server in ended:
        selector.unregister(server.output)
        server.clear_away()
    return ended


if __name__ == "__main__":
    # The command line's. In production it is not there; structlog would load it: 0.2 s of each start, and 3 MB.
    sys.modules["rich"] = None  # type: ignore[assignment]
    main(sys.argv[1:])
