"""What is done every few seconds while something is worked on."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shared.domain.stages import HEARTBEAT_SECONDS

T = TypeVar("T")


@dataclass(kw_only=True)
class Periodic(ABC, Generic[T]):
    """One thread for all that the process holds; it lives while there is any."""

    seconds: float = HEARTBEAT_SECONDS
    _held: dict[object, T] = field(default_factory=dict, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    @contextmanager
    def holding(self, what: T) -> Iterator[None]:
        """Be told of this by `beat` until the end of the block."""
        key = object()
        with self._changed:
            self._held[key] = what
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=type(self).__name__.lower(), daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                del self._held[key]
                self._changed.notify()

    def beat(self) -> None:
        """Do it for all that is held."""
        with self._changed:
            held = list(self._held.values())
        if held:
            self.do(held)

    @abstractmethod
    def do(self, held: Collection[T]) -> None:
        """Raises nothing: the thread must live, or it is not done for anything of this process any more."""

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._held, timeout=self.seconds)
                if not self._held:
                    self._thread = None
                    return
            self.beat()
