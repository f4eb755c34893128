"""Calls something again and again until closed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from shared.domain.failures import stack_of

log = structlog.get_logger()


class Every:
    """Calls `action` every `seconds`, the first time at once, on a thread of its own. What it raises is logged."""

    def __init__(self, seconds: float, action: Callable[[], object]) -> None:
        self._seconds = seconds
        self._action = action
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="every", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._action()
            except Exception as error:
                log.warning("timer.failed", error_class=type(error).__name__, stack_trace=stack_of(error))
            self._closed.wait(self._seconds)

    def close(self) -> None:
        self._closed.set()
        self._thread.join(30)
