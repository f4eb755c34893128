"""Locks between processes, and whether a process lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


def try_lock(path: Path) -> IO[str] | None:
    """The open file that holds the lock, or None if somebody else has it. Closing it (or dying) frees it.

    A child that inherits the file's descriptor holds the lock too, until it ends. Raises OSError.
    """
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def lock(file: IO[str]) -> None:
    """Lock an open file until it is closed, or its process ends, however it does."""
    fcntl.flock(file, fcntl.LOCK_EX)


def is_locked(file: IO[str]) -> bool:
    """Whether another open file holds the lock. If none does, this one holds a shared lock until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def holder_is_alive(path: Path) -> bool:
    """Whether the process that took the lock lives: if not, a child of it still holds the lock."""
    try:
        return is_alive(int(path.read_text()))
    except (OSError, ValueError):
        return True  # it is just being taken


def is_alive(pid: int) -> bool:
    """False for a zombie too: in a container it may never be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's
    return _state(pid) != "Z"


def runs_in(pid: int, program: str, folder: Path) -> bool:
    """Whether the process is this program, working in this folder. True where there is no /proc to tell."""
    process = Path(f"/proc/{pid}")
    if not process.exists():
        return True
    try:
        name, where = (process / "comm").read_text().strip(), (process / "cwd").resolve(strict=True)
    except OSError:
        return False
    return name == program and where == folder.resolve()


def _state(pid: int) -> str | None:
    """Of Linux; None elsewhere."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return None
