"""Live documents as they come: from the API of a local stack, or from Firestore."""

from __future__ import annotations

import json
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, Queue
from types import TracebackType
from typing import Any, Self

import requests
from urllib3.exceptions import HTTPError

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_POLL_SECONDS = 0.5

Fields = dict[str, Any]
Change = tuple[str, Fields]
"""A live document's path and fields."""


class ListenFailed(Exception):
    """The live documents can't be read, or not any more."""


class Unwatchable(Exception):
    """It is not known where the live documents are. The message says what to name."""


def harmless(value: Any) -> Any:
    """The same without control characters, which a terminal would obey: others wrote these texts."""
    if isinstance(value, str):
        return _CONTROL.sub("\ufffd", value)
    if isinstance(value, dict):
        return {k: harmless(v) for k, v in value.items()}
    return [harmless(v) for v in value] if isinstance(value, list) else value


class Listener(ABC):
    """A book's live documents and each of their changes, from when it is made until `close`.

    `where` names what they come from.
    """

    first_answer_seconds = 30.0

    def __init__(self, where: str) -> None:
        self._where = where
        self._changes: Queue[Change] = Queue()
        self._answered = threading.Event()
        self._began = time.monotonic()

    def answered(self) -> None:
        """Notes that the other side answers, even if it has no document yet."""
        self._answered.set()

    def put(self, path: str, fields: Fields) -> None:
        """Hands on a document; from any thread."""
        self._answered.set()
        self._changes.put((path, harmless(fields)))

    @abstractmethod
    def is_active(self) -> bool:
        """Whether changes may still come."""

    def why_it_ended(self) -> str:
        """What the other side said, if anything."""
        return ""

    @abstractmethod
    def close(self) -> None: ...

    def follow(self, seconds: float) -> Iterator[Change]:
        """Changes until there was none for so long. Raises ListenFailed if the listener ends, or is never answered."""
        heard = time.monotonic()
        while time.monotonic() - heard < seconds:
            # Asked before the queue: what came before the end is still handed on.
            is_active = self.is_active()
            try:
                change = self._changes.get(timeout=_POLL_SECONDS if is_active else 0)
            except Empty:
                if not is_active:
                    reason = self.why_it_ended()
                    raise ListenFailed(f"the connection to {self._where} was lost{reason and f': {reason}'}") from None
                if not self._answered.is_set() and time.monotonic() - self._began > self.first_answer_seconds:
                    raise ListenFailed(f"{self._where} did not answer for {self.first_answer_seconds:.0f} s") from None
                continue
            heard = time.monotonic()
            yield change

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class EventsListener(Listener):
    """Reads the server-sent events of the API: what they say of the book's own documents."""

    def __init__(self, reply: requests.Response) -> None:
        super().__init__("the local stack")
        self.answered()
        self._reply = reply
        self._thread = threading.Thread(target=self._read, name="listener", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            # Not iter_lines, which holds each line back until the next one comes.
            for line in self._reply.raw:
                if line.startswith(b"data: ") and "fields" in (told := json.loads(line.removeprefix(b"data: "))):
                    self.put(told["path"], told["fields"])
        except (OSError, HTTPError, AttributeError, ValueError, LookupError, TypeError):
            pass  # the thread ends, and whoever follows hears of that

    def is_active(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        # Not the reply's close, which would wait for the reading thread's next line. There is no connection any more
        # if the stack ended it.
        with suppress(RuntimeError):
            self._reply.raw.shutdown()
