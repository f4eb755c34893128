"""Child processes that end with us, are restarted when they die, and whose log lines we see."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OnLine = Callable[[str, str], None]
"""Takes a process's name and a line that it wrote."""

RESTART_SECONDS = (0.05, 1.0, 3.0, 10.0)
"""How long to wait before the first restart, the second…; the last one counts for all that follow."""

LONG_ENOUGH_SECONDS = 30.0
"""A process that ran this long has no failures to its name."""

_WATCHDOG = Path(__file__).with_name("watchdog.py")
_POLL_SECONDS = 0.03
_MOMENT_SECONDS = 2.0
_LAST_LINES = 20

# Below the ports that Linux and macOS take for outgoing connections: a client that knocks on the port of a
# server that is just restarting could otherwise be given that very port, and keep the server off it.
_PORTS = range(20_000, 32_000)
_given_ports: set[int] = set()
_ports_lock = threading.Lock()


class StartFailed(Exception):
    """A process did not come up. The message ends with what it wrote last."""


def free_port() -> int:
    """A port of the loopback interface that is free, and that was not given to us before."""
    # Not the seeded generator: two test runs with one seed would race for the same ports.
    chance = random.SystemRandom()
    with _ports_lock:
        while len(_given_ports) < len(_PORTS):
            port = chance.choice(_PORTS)
            if port not in _given_ports and can_bind(port):
                _given_ports.add(port)
                return port
    raise StartFailed("no port is free")


def can_bind(port: int) -> bool:
    """Whether nobody listens at this port of the loopback interface: connections that have just ended don't count."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run. `ready` says whether it serves yet; `seconds` is how long that may take.

    `uid` is who runs it, -1 being ourselves. `holds` are file descriptors (locks, say) that it keeps open.
    `orphan_signal` is what it gets if its watchdog is killed.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: str = "/"
    stop_signal: int = signal.SIGTERM
    grace: float = 10.0
    orphan_signal: int = signal.SIGKILL
    uid: int = -1
    holds: Sequence[int] = ()
    ready: Callable[[], bool] = field(default=lambda: True)
    seconds: float = 60.0


class Process:
    """One run of a command. It ends with us, even if we are killed. Safe to use from many threads."""

    def __init__(self, command: Command, on_line: OnLine) -> None:
        self.command = command
        self.last_lines: list[str] = []
        self._on_line = on_line
        self._group: int | None = None
        self._stopping = threading.Lock()
        self._popen = _under_watchdog(command)
        self._reader = threading.Thread(target=self._read, name=f"log-{command.name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the watchdog, whose one child the command is."""
        return self._popen.pid

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for number, raw in enumerate(self._popen.stdout):
            line = raw.decode(errors="replace").rstrip()
            if number == 0 and line.isdecimal():
                self._group = int(line)  # the watchdog's own line
                continue
            self.last_lines = [*self.last_lines[1 - _LAST_LINES :], line]
            # Come what may, read on: else the pipe fills up and the command blocks.
            with contextlib.suppress(Exception):
                self._on_line(self.command.name, line)

    def _failure(self) -> str:
        return "\n".join([f"{self.command.name} did not come up:", *self.last_lines])

    def is_running(self) -> bool:
        return self._popen.poll() is None

    def wait(self) -> None:
        self._popen.wait()

    def wait_until_ready(self) -> None:
        """Raises StartFailed if it ends or takes too long."""
        deadline = time.monotonic() + self.command.seconds
        try:
            while not self.command.ready():
                if not self.is_running() or time.monotonic() > deadline:
                    self.stop()  # first: its last lines say why
                    raise StartFailed(self._failure())
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self.stop()
            raise

    def begin_stop(self) -> None:
        """Have the watchdog stop the command; `stop` waits for it."""
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError):
            self._popen.stdin.close()

    def stop(self) -> None:
        """Returns when the command and all of its process group are gone. Safe to repeat."""
        assert self._popen.stdout is not None
        self.begin_stop()
        with self._stopping:
            try:
                self._popen.wait(self.command.grace + 5)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
            if self._reader is not threading.current_thread():
                if self._popen.returncode < 0:
                    self._end_orphans()
                self._reader.join(_MOMENT_SECONDS)
            if not self._reader.is_alive():
                self._popen.stdout.close()

    def _end_orphans(self) -> None:
        """The watchdog was killed. Who lives on keeps our pipe open, and a port or a file that the next one needs."""
        self._reader.join(_POLL_SECONDS)
        for number, seconds in ((self.command.stop_signal, self.command.grace), (signal.SIGKILL, _MOMENT_SECONDS)):
            if self._group is None or not self._reader.is_alive():
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, number)
            self._reader.join(seconds)


def _under_watchdog(command: Command) -> subprocess.Popen[bytes]:
    stop, orphan = str(int(command.stop_signal)), str(int(command.orphan_signal))
    options = [stop, str(command.grace), orphan, str(command.uid), command.cwd]
    return subprocess.Popen(
        # -S -E: no site-packages and no PYTHON* variables, so that it starts fast and always.
        [sys.executable, "-S", "-E", str(_WATCHDOG), *options, *command.argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(command.env) if command.env is not None else None,
        pass_fds=tuple(command.holds),
        # Ctrl-C in the terminal is for us: we stop the children in order.
        start_new_session=True,
    )


def restart_seconds(failures: int) -> float:
    return RESTART_SECONDS[min(failures, len(RESTART_SECONDS) - 1)]


class Supervisor:
    """Keeps commands running until it is closed. Safe to use from many threads.

    `clock` counts seconds. `pause` waits that many, and returns True early when the supervisor is closed.
    """

    def __init__(
        self,
        on_line: OnLine,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        self._on_line = on_line
        self._closed = threading.Event()
        self._clock = clock
        self._pause = pause or self._closed.wait
        self._processes: dict[str, Process] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def start(self, command: Command, on_restart: Callable[[], None] = lambda: None) -> None:
        """Starts it and returns once it serves; restarts it whenever it ends. Raises StartFailed.

        `on_restart` runs once the new process serves, and again for as long as it raises: in a thread of its own,
        beside the one for the process before, if that has not come to its end.
        """
        try:
            self._run(command)
        except BaseException:
            with self._lock:
                self._processes.pop(command.name, None)
            raise
        self._start_thread(f"keep-{command.name}", self._keep, command, on_restart)

    def _start_thread(self, name: str, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        with self._lock:
            self._threads = [*(t for t in self._threads if t.is_alive()), thread]
            # Under the lock: `close` joins only what was started.
            thread.start()

    def pid(self, name: str) -> int:
        """Of the watchdog of the command as it runs now. Raises KeyError."""
        with self._lock:
            return self._processes[name].pid

    def _run(self, command: Command) -> Process:
        with self._lock:
            if self._closed.is_set():
                raise StartFailed(f"{command.name} was not started: all is being stopped")
            process = self._processes[command.name] = Process(command, self._on_line)
        process.wait_until_ready()
        return process

    def _keep(self, command: Command, on_restart: Callable[[], None]) -> None:
        failures = 0
        while True:
            with self._lock:
                process = self._processes[command.name]
            started = self._clock()
            process.wait()
            process.stop()  # lets go of its pipes
            if self._closed.is_set():
                return
            if self._clock() - started >= LONG_ENOUGH_SECONDS:
                failures = 0
            self._on_line(command.name, "ended; starting it again")
            if self._pause(restart_seconds(failures)):
                return
            failures += 1
            try:
                process = self._run(command)
            except Exception as error:
                if not self._closed.is_set():
                    self._on_line(command.name, f"not ready: {error}")
            else:
                self._start_thread(f"tell-{command.name}", self._tell, process, on_restart)

    def _tell(self, process: Process, on_restart: Callable[[], None]) -> None:
        """Call `on_restart` until it succeeds, or the process ends. Its failure does not stop the process."""
        failures = 0
        while process.is_running() and not self._closed.is_set():
            try:
                on_restart()
                return
            except Exception as error:
                self._on_line(process.command.name, f"restarted, but what follows failed: {error}")
            if self._pause(restart_seconds(failures)):
                return
            failures += 1

    def close(self) -> None:
        """Stops all at once, and waits for them. Safe to repeat."""
        self._closed.set()
        with self._lock:
            processes, threads = list(self._processes.values()), self._threads
        for process in processes:
            process.begin_stop()
        for process in processes:
            process.stop()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(5)
