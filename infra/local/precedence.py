"""Who goes first in the embedded stack, where requests and jobs share one interpreter: requests that write."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_READS = ("GET", "HEAD", "OPTIONS")


class Precedence:
    """A WSGI application before another, whose requests that write it hands on `at_once` at a time, in the order in
    which they came: twenty that share the interpreter would all be as late as the last one.

    Requests that read pass by: an app that asks for a book's status again and again must not hold up its jobs.
    """

    def __init__(self, application: WSGIApplication, at_once: int = 3) -> None:
        self._application = application
        self._turns = threading.Semaphore(at_once)
        self._changed = threading.Condition()
        self._under_way = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in _READS:
            return self._application(environ, start_response)
        with self._changed:
            self._under_way += 1
        try:
            with self._turns:
                return self._application(environ, start_response)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def give_way(self, seconds: float = 1.0) -> None:
        """Wait until no request that writes is waiting or being answered, but no longer than this."""
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, seconds)
