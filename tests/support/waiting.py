"""Waiting for what can only be asked after again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event

from infra.local.locks import is_alive

_GONE_SECONDS = 30.0


def poll(seconds: float, what: str, *, pause_seconds: float = 0.1) -> Iterator[None]:
    """Yield for each turn of a loop that waits for `what`. Raises AssertionError after so many seconds."""
    deadline, pause = time.monotonic() + seconds, Event()
    while time.monotonic() < deadline:
        yield
        pause.wait(pause_seconds)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


def wait_gone(*pids: int) -> None:
    """Wait until processes have ended. A zombie has: it awaits its parent, which may be a container's idle first process."""
    assert pids
    for _ in poll(_GONE_SECONDS, f"the end of {pids}"):
        if not any(map(is_alive, pids)):
            return
