"""Ports that a data folder's stack keeps, so that apps find it again when it is started again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from infra.local.processes import StartFailed, can_bind, free_port

FIRST_PORT = 8420
_NAMES = ("api", "firestore", "pubsub")  # from the first port on, in this order
_SPAN = 100
_PATIENCE_SECONDS, _POLL_SECONDS = 3.0, 0.1

PortOf = Callable[[str], int]
"""Gives a free port, by the name of what is to listen there."""


class PortTaken(StartFailed):
    """The port that was asked for is somebody else's."""


def any_port(name: str) -> int:
    """For a stack that nobody has to find again."""
    return free_port()


class KeptPorts:
    """Each name keeps the port that it had, unless somebody else took it; a new one gets the next that is free.

    `api` is the port to have for the API, or PortTaken is raised. `moved` says who has another port than before.
    """

    def __init__(self, data: Path, api: int | None = None) -> None:
        self._file = data / "ports.json"
        self._asked = api
        self._ports = self._read()
        self.moved: list[str] = []
        if api is not None and api != self._ports.get("api"):
            self._ports = {}

    def __call__(self, name: str) -> int:
        had = self._ports.get(name)
        if had is not None and _is_free_soon(had):
            return had
        if name == "api" and self._asked is not None and not can_bind(self._asked):
            raise PortTaken(f"port {self._asked} is taken; name another one, or leave --port out")
        port = self._next_free(self._asked or self._ports.get("api") or FIRST_PORT, name)
        if had is not None:
            self.moved.append(f"{name} is at port {port} now: somebody else has {had}")
        self._ports[name] = port
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self._ports))
        return port

    def _next_free(self, first: int, name: str) -> int:
        first += _NAMES.index(name)
        for port in range(first, min(first + _SPAN, 65_536)):
            if port not in self._ports.values() and can_bind(port):
                return port
        raise StartFailed(f"no port from {first} on is free; --port names another one")

    def _read(self) -> dict[str, int]:
        with suppress(OSError, ValueError, AttributeError, TypeError):
            return {name: int(port) for name, port in json.loads(self._file.read_text()).items() if name in _NAMES}
        return {}


def _is_free_soon(port: int) -> bool:
    """Who had it last may be just ending."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not can_bind(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
