"""Forwards a port to a service's, and can be shut: then connections are refused, as if the service were not there."""

from __future__ import annotations

import contextlib
import socket
import threading

from infra.local.processes import free_port


class TcpGate:
    """Forwards from when it is made. `shut` also cuts the connections that are open; `open` forwards again."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._listener: socket.socket | None = None
        self._inside: list[socket.socket] = []
        self._lock = threading.Lock()
        self.open()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def open(self) -> None:
        listener = self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        with self._lock:
            inside, self._inside = self._inside, []
            listener, self._listener = self._listener, None
        for end in [*inside, *([listener] if listener else [])]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                outside, _ = listener.accept()
                beyond = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    self._inside += [outside, beyond]
                    if self._listener is not listener:
                        outside.close()
                        beyond.close()
                for ends in ((outside, beyond), (beyond, outside)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
