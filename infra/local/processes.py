"""Child processes that end with us, are restarted when they die, and whose log lines we see."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

OnLine = Callable[[str, str], None]
"""Takes a process's name and a line that it wrote."""

_WATCHDOG = Path(__file__).with_name("watchdog.py")
_RESTART_SECONDS = (0.2, 1.0, 3.0, 10.0)


class StartFailed(Exception):
    """A process did not come up. The message ends with what it wrote last."""


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run. `ready` says whether it serves yet; `seconds` is how long that may take."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: str = "/"
    stop_signal: int = signal.SIGTERM
    grace: float = 10.0
    uid: int = -1
    ready: Callable[[], bool] = field(default=lambda: True)
    seconds: float = 60.0


class Process:
    """One run of a command. It ends with this process, even if that is killed."""

    def __init__(self, command: Command, on_line: OnLine) -> None:
        self.command = command
        self.last_lines: list[str] = []
        head = [sys.executable, "-S", "-E", str(_WATCHDOG), str(int(command.stop_signal)), str(command.grace)]
        self._popen = subprocess.Popen(
            [*head, str(command.uid), command.cwd, *command.argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(command.env) if command.env is not None else None,
            start_new_session=True,
        )
        self._on_line = on_line
        self._reader = threading.Thread(target=self._read, name=f"log-{command.name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the watchdog, whose one child the command is."""
        return self._popen.pid

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for raw in self._popen.stdout:
            line = raw.decode(errors="replace").rstrip()
            self.last_lines = [*self.last_lines[-19:], line]
            self._on_line(self.command.name, line)

    def is_running(self) -> bool:
        return self._popen.poll() is None

    def wait(self) -> None:
        self._popen.wait()

    def wait_until_ready(self) -> None:
        """Raises StartFailed if it ends or takes too long."""
        deadline = time.monotonic() + self.command.seconds
        while not self.command.ready():
            if not self.is_running() or time.monotonic() > deadline:
                self.stop()
                said = "\n".join(self.last_lines)
                raise StartFailed(f"{self.command.name} did not come up:\n{said}")
            time.sleep(0.03)

    def stop(self) -> None:
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError):
            self._popen.stdin.close()
        try:
            self._popen.wait(self.command.grace + 5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._reader.join(2)
        assert self._popen.stdout is not None
        if not self._reader.is_alive():
            self._popen.stdout.close()


class Supervisor:
    """Keeps commands running until it is closed. Safe to call from many threads."""

    def __init__(self, on_line: OnLine) -> None:
        self._on_line = on_line
        self._processes: dict[str, Process] = {}
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()
        self._lock = threading.Lock()

    def start(self, command: Command, on_restart: Callable[[], None] = lambda: None) -> None:
        """Starts it and returns once it serves; restarts it whenever it ends. Raises StartFailed."""
        process = Process(command, self._on_line)
        with self._lock:
            self._processes[command.name] = process
        process.wait_until_ready()
        keeper = threading.Thread(
            target=self._keep, args=(command, on_restart), name=f"keep-{command.name}", daemon=True
        )
        with self._lock:
            self._threads.append(keeper)
        keeper.start()

    def pid(self, name: str) -> int:
        with self._lock:
            return self._processes[name].pid

    def _keep(self, command: Command, on_restart: Callable[[], None]) -> None:
        failures = 0
        while True:
            with self._lock:
                process = self._processes[command.name]
            started = time.monotonic()
            process.wait()
            process.stop()  # lets go of its pipes
            if self._closed.is_set():
                return
            failures = 0 if time.monotonic() - started > 30 else failures + 1
            self._on_line(command.name, "ended; starting it again")
            if self._closed.wait(_RESTART_SECONDS[min(failures, len(_RESTART_SECONDS) - 1)]):
                return
            self._restart(command, on_restart)

    def _restart(self, command: Command, on_restart: Callable[[], None]) -> None:
        with self._lock:
            if self._closed.is_set():
                return
            process = self._processes[command.name] = Process(command, self._on_line)
        try:
            process.wait_until_ready()
            on_restart()
        except Exception as error:
            self._on_line(command.name, f"not ready: {error}")

    def close(self) -> None:
        """Stops all, the last started first, and waits for them."""
        self._closed.set()
        with self._lock:
            processes = list(self._processes.values())
        for process in reversed(processes):
            process.stop()
        for thread in self._threads:
            thread.join(5)
