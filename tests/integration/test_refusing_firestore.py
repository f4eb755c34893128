"""The listener of `bindery watch`, while Firestore answers and refuses."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
from typing import Any

import grpc
import pytest

from infra.cli.firestore_listener import FirestoreListener
from infra.cli.listeners import ListenFailed
from shared.adapters.google.firestore_listeners import PausingStream

BOOK_ID = "00000000-0000-4000-8000-0000000000b1"


class RefusingFirestore(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A server that ends each call with a status. `calls` is released by each."""

    def __init__(self) -> None:
        self.status = grpc.StatusCode.UNAVAILABLE
        self.calls = Semaphore(0)
        self._server = grpc.server(ThreadPoolExecutor(4), handlers=[self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, details: Any) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    def _refuse(self, requests: Any, context: Any) -> None:
        self.calls.release()
        context.abort(self.status, "not you")

    def close(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[RefusingFirestore]:
    server = RefusingFirestore()
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", server.address)
    yield server
    server.close()


def listen(server: RefusingFirestore) -> FirestoreListener:
    return FirestoreListener({"FIRESTORE_EMULATOR_HOST": server.address, "GOOGLE_CLOUD_PROJECT": "demo"}, None, BOOK_ID)


def test_a_listener_that_is_refused_asks_again_but_not_without_a_pause(refusing: RefusingFirestore) -> None:
    with listen(refusing):
        for _ in range(2):
            assert refusing.calls.acquire(timeout=30)
        assert not all(refusing.calls.acquire(timeout=1) for _ in range(60))


def test_a_listener_that_may_not_read_ends_and_says_why(refusing: RefusingFirestore) -> None:
    refusing.status = grpc.StatusCode.PERMISSION_DENIED
    with listen(refusing) as listener, pytest.raises(ListenFailed, match="403 not you"):
        next(listener.follow(30))


def test_a_stream_that_was_closed_during_a_pause_is_not_opened_after_it() -> None:
    opened: list[object] = []
    stream = PausingStream(opened.append, should_recover=lambda error: True)
    stream.close()
    stream.open()
    assert opened == []
