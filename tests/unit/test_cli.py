"""The command line's client and options, against small servers of their own."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import pytest
import typer

from infra.cli.client import ApiError, Client
from infra.cli.moments import moment
from infra.cli.stacks import migrate
from infra.local.locks import lock
from infra.local.stack import running_stack

Serve = Callable[[str, str], "Served"]


class Served:
    """Answers everything with one text, and keeps what it was asked."""

    def __init__(self, content_type: str, text: str) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        seen = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append((self.path, dict(self.headers)))
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def serve() -> Iterator[Serve]:
    made: list[Served] = []

    def start(content_type: str, text: str) -> Served:
        made.append(Served(content_type, text))
        return made[-1]

    yield start
    for served in made:
        served.server.shutdown()
        served.server.server_close()


def test_what_others_wrote_can_not_command_the_terminal(serve: Serve) -> None:
    hostile = {"title": "a\x1b]52;c;ZXZpbA==\x07b", "in": [{"c1": "\x9b31m", "kept": "a\tb\nc é"}]}
    api = serve("application/json", json.dumps(hostile))

    found = Client(url=api.url).get("/")
    assert found == {"title": "a\ufffd]52;c;ZXZpbA==\ufffdb", "in": [{"c1": "\ufffd31m", "kept": "a\tb\nc é"}]}


def test_no_proxy_sees_what_goes_to_this_machine(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    api, proxy = serve("application/json", "{}"), serve("application/json", "{}")
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    assert Client(url=api.url).get("/api/books") == {}
    assert Client(url="http://bindery.example").get("/api/books") == {}
    assert [path for path, _ in api.asked] == ["/api/books"]
    assert [path for path, _ in proxy.asked] == ["http://bindery.example/api/books"]


def test_the_token_is_sent_whatever_netrc_says(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine bindery.example login a password b\n")
    proxy = serve("application/json", "{}")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", proxy.url)

    Client(url="http://bindery.example", token="abc").get("/")
    assert proxy.asked[0][1]["Authorization"] == "Bearer abc"


@pytest.mark.parametrize(("content_type", "text"), [("text/html", "<h1>Log in</h1>"), ("application/json", "not JSON")])
def test_what_is_not_bindery_is_said_in_a_line(serve: Serve, content_type: str, text: str) -> None:
    with pytest.raises(ApiError) as caught:
        Client(url=serve(content_type, text).url).get("/")
    assert caught.value.status == 0


def test_a_token_that_no_header_can_hold_is_said_in_a_line(serve: Serve) -> None:
    with pytest.raises(ApiError):
        Client(url=serve("application/json", "{}").url, token="t\u20ac").get("/")


@pytest.mark.parametrize("text", ["99999999999d", "9999999d", "0001-01-01", "yesterday"])
def test_a_time_that_is_none_is_said_in_a_line(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment(text)


@contextmanager
def locked(path: Path, mode: int = 0o600) -> Iterator[IO[str]]:
    """As a stack that runs keeps its file."""
    with path.open("w") as file:
        os.fchmod(file.fileno(), mode)
        lock(file)
        yield file


@pytest.mark.parametrize(
    ("mode", "url", "is_believed"),
    [
        (0o600, "http://127.0.0.1:1", True),
        (0o644, "http://127.0.0.1:1", False),
        (0o600, "http://203.0.113.9:80", False),
        (0o600, "http://127.0.0.1.evil.example", False),
    ],
)
def test_a_folder_that_names_another_stack_is_not_believed(
    tmp_path: Path, mode: int, url: str, is_believed: bool
) -> None:
    with locked(tmp_path / "stack.json", mode) as file:
        json.dump({"environment": {"BINDERY_URL": url}}, file)
        file.flush()
        assert (running_stack(tmp_path) is not None) is is_believed


def test_a_stack_that_was_killed_is_not_running_though_another_process_has_its_pid_now(tmp_path: Path) -> None:
    state = {"pid": os.getpid(), "environment": {"BINDERY_URL": "http://127.0.0.1:1"}}
    (tmp_path / "stack.json").write_text(json.dumps(state))
    (tmp_path / "stack.json").chmod(0o600)
    assert running_stack(tmp_path) is None


@pytest.mark.parametrize("state", ["[]", "{", '{"environment": {}}', '{"environment": 3}'])
def test_a_broken_note_of_a_stack_is_none(tmp_path: Path, state: str) -> None:
    with locked(tmp_path / "stack.json") as file:
        file.write(state)
        file.flush()
        assert running_stack(tmp_path) is None


def test_a_mistyped_dsn_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        migrate("postgres//bob:hunter2@host/db")
    assert "hunter2" not in "".join(capsys.readouterr())
