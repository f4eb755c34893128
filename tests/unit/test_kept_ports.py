"""A stack that is started again on a data folder answers where it did before."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.local import ports
from infra.local.ports import KeptPorts, PortTaken
from infra.local.processes import StartFailed, can_bind, free_port

NAMES = ("pubsub", "firestore", "api")


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> int:
    """The port to begin with; the next two are free, too."""
    port = next(p for p in iter(free_port, None) if all(can_bind(p + n) for n in range(4)))
    monkeypatch.setattr(ports, "FIRST_PORT", port)
    monkeypatch.setattr(ports, "_PATIENCE_SECONDS", 0.0)
    return port


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


def given(data: Path, api: int | None = None) -> dict[str, int]:
    port_of = KeptPorts(data, api)
    return {name: port_of(name) for name in NAMES}


def test_the_first_ports_are_the_usual_ones_and_stay(tmp_path: Path, first: int) -> None:
    usual = {"api": first, "firestore": first + 1, "pubsub": first + 2}

    assert given(tmp_path) == usual
    assert given(tmp_path) == usual


def test_a_port_that_is_taken_is_left_for_the_next_one_which_stays(tmp_path: Path, first: int) -> None:
    with taken(first):
        port = KeptPorts(tmp_path)("api")
    again = KeptPorts(tmp_path)

    assert (port, again("api"), again.moved) == (first + 1, first + 1, [])


def test_who_has_to_move_says_so(tmp_path: Path, first: int) -> None:
    KeptPorts(tmp_path)("api")
    moved = KeptPorts(tmp_path)
    with taken(first):
        assert moved("api") == first + 1

    assert moved.moved == [f"api is at port {first + 1} now: somebody else has {first}"]


def test_the_port_that_is_asked_for_is_kept_from_then_on(tmp_path: Path, first: int) -> None:
    before = given(tmp_path)
    asked = free_port()

    assert given(tmp_path, asked)["api"] == asked != before["api"]
    assert given(tmp_path)["api"] == asked
    assert given(tmp_path, asked)["api"] == asked


def test_a_port_that_is_asked_for_and_taken_is_refused(tmp_path: Path, first: int) -> None:
    with taken(first), pytest.raises(PortTaken, match=f"port {first} is taken"):
        KeptPorts(tmp_path, first)("api")


@pytest.mark.parametrize("text", ["", "[]", '{"api": "x"}', '{"api": null}', "{"])
def test_a_file_that_says_nothing_is_written_anew(tmp_path: Path, first: int, text: str) -> None:
    (tmp_path / "ports.json").write_text(text)

    assert given(tmp_path)["api"] == first


def test_where_no_port_is_free_it_is_said(tmp_path: Path, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "can_bind", lambda port: False)

    with pytest.raises(StartFailed, match="--port names another one"):
        KeptPorts(tmp_path)("api")


def test_connections_that_have_just_ended_take_no_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # who closes first keeps the port for a minute
        client.close()

    assert can_bind(port)
