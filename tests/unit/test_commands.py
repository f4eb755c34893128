"""The commands against an API that answers what the test says."""

from __future__ import annotations

import inspect
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from infra.cli import books, context, dead_letters, identifiers, imports, main, operations, reembed, view
from infra.cli.client import Client
from infra.cli.listeners import Listener, ListenFailed, Unwatchable
from tests.support.command_line import CLI

BOOK = "0d9c1e2a-0000-4000-8000-000000000001"
OTHER = "0d9c1e2a-0000-4000-8000-000000000002"
EVENTS, SSE = f"GET /api/books/{BOOK}/events", "text/event-stream"
FINISHED = {"status": "completed", "progress": 100, "phase": "completed", "title": "T", "chunks": 1}
FINISHED |= {"chapters": {"total": 61, "processed": 59, "embedded": 61, "failed": 0, "without_metadata": 2}}
SEEN = "100 %  completed\n61 chapters, 2 without summary\n"

Ended = tuple[int, str, str]
"""A command's exit code, standard output and standard error."""
Run = Callable[..., Ended]


class FakeApi:
    """Answers from `routes`: by method and path, a status, a content type and a text or a JSON value."""

    def __init__(self) -> None:
        self.routes: dict[str, tuple[int, str, Any]] = {}
        self.asked: list[str] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.asked.append(f"{self.command} {self.path}")
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                missing = (404, "application/problem+json", {"detail": "there is no such path"})
                status, kind, value = api.routes.get(f"{self.command} {self.path.partition('?')[0]}", missing)
                body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, route: str, value: Any, status: int = 200, kind: str = "application/json") -> None:
        self.routes[route] = (status, kind, value)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    made = FakeApi()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def run(api: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs `bindery` in this process, in an empty folder, with nothing but BINDERY_URL in the environment."""
    for name in ("GOOGLE_CLOUD_PROJECT", "BINDERY_PROJECT", "FIRESTORE_EMULATOR_HOST", "BINDERY_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BINDERY_URL", api.url)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def command(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["bindery", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        said = capsys.readouterr()
        return int(str(ended.value.code or 0)), said.out, said.err

    return command


SHARED = {"--url", "--token", "--project", "--data-dir", "--json"}
OF_AN_API = [
    *(
        ["import"],
        ["status"],
        ["watch"],
        ["jobs"],
        ["books"],
        ["search"],
        ["cancel"],
        ["resume"],
        ["retry"],
        ["delete"],
    ),
    *(
        ["replay"],
        ["receipt"],
        ["project"],
        ["doctor"],
        ["restored"],
        ["reembed"],
        ["snapshot", "create"],
        ["snapshot", "list"],
        ["snapshot", "delete"],
    ),
    *(["dead-letters", name] for name in ("list", "groups", "show", "redrive", "batch", "stop", "discard")),
]


@pytest.mark.parametrize("command", OF_AN_API, ids=" ".join)
def test_every_command_shows_the_shared_options(run: Run, command: list[str]) -> None:
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert {option for option in SHARED if option in out} == SHARED
    assert "Example" in out


def test_no_command_declares_the_shared_options_itself() -> None:
    for module in (books, imports, dead_letters, operations, reembed):
        for name, command in inspect.getmembers(module, inspect.isfunction):
            if command.__module__ == module.__name__:
                assert not {"url", "token", "data_dir", "as_json"} & set(inspect.signature(command).parameters), name


def test_the_version_is_the_distributions(run: Run) -> None:
    assert run("--version") == (0, f"bindery {version('bindery')}\n", "")


def test_what_people_are_told_to_type_is_what_they_typed(tmp_path: Path) -> None:
    env = os.environ | {"BINDERY_COMMAND": "./infra/bindery", "PYTHONPATH": os.getcwd(), "COLUMNS": "200"}
    env.pop("BINDERY_URL", None)

    def typed(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*CLI, *arguments], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    told, shown = typed("books"), typed("status", "--help").stdout
    assert told.returncode == 3
    assert told.stderr.startswith(
        "./infra/bindery: no local stack is running here; start one with `./infra/bindery dev`"
    )
    assert "Usage: ./infra/bindery status" in shown
    assert "Example: ./infra/bindery status 0d9c… --json" in shown


# Ids


def test_a_whole_id_is_not_looked_up(run: Run, api: FakeApi) -> None:
    api.answer(f"POST /api/books/{BOOK}/cancel", {"status": "cancelled"})
    assert run("cancel", BOOK) == (0, f"book {BOOK}: cancelled\n", "")
    assert api.asked == [f"POST /api/books/{BOOK}/cancel"]


@pytest.mark.parametrize("text", ["0d9c", "0d9c…", "0d9c..."])
def test_a_beginning_stands_for_the_only_id_that_has_it(run: Run, api: FakeApi, text: str) -> None:
    api.answer("GET /api/identifiers", {"matches": [BOOK], "more": False})
    api.answer(f"POST /api/books/{BOOK}/cancel", {"status": "cancelled"})
    assert run("cancel", text)[0] == 0
    assert api.asked[0] == "GET /api/identifiers?kind=book&prefix=0d9c"


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["jobs", "book-0d9c…-v1"], "kind=job&prefix=book-0d9c&suffix=-v1"),
        (["receipt", "5b1e…"], "kind=replay&prefix=5b1e"),
        (["dead-letters", "batch", "7c1e…"], "kind=redrive&prefix=7c1e"),
        (["dead-letters", "list", "--fingerprint", "3f2a…"], "kind=fingerprint&prefix=3f2a"),
        (["search", "storm", "--book", "0d9c…"], "kind=book&prefix=0d9c"),
    ],
)
def test_the_ids_of_the_help_can_be_typed_as_they_stand(
    run: Run, api: FakeApi, arguments: list[str], asked: str
) -> None:
    api.answer("GET /api/identifiers", {"matches": [], "more": False})
    code, _, err = run(*arguments)
    assert (code, api.asked) == (1, [f"GET /api/identifiers?{asked}"])
    assert "there is no such" in err


@pytest.mark.parametrize(("by", "said"), [(["words"], True), (["meaning", "words"], False)])
def test_a_search_says_if_the_words_alone_found(run: Run, api: FakeApi, by: list[str], said: bool) -> None:
    api.answer("GET /api/search", {"query": "storm", "by": by, "results": []})
    code, out, _ = run("search", "storm")
    assert (code, "by words alone" in out) == (0, said)
    assert "nothing found" in out


def test_an_ambiguous_beginning_is_refused_with_the_candidates(run: Run, api: FakeApi) -> None:
    api.answer("GET /api/identifiers", {"matches": [BOOK, OTHER], "more": False})
    code, _, err = run("delete", "0d9c", "--yes")
    assert code == 2
    assert BOOK in err
    assert OTHER in err
    assert len(api.asked) == 1


def test_an_empty_id_names_nothing(run: Run, api: FakeApi) -> None:
    for text in ("", "…", " "):
        assert run("delete", text, "--yes")[0] == 2
    assert api.asked == []


@pytest.mark.parametrize(
    ("kind", "text", "is_whole"),
    [
        ("book", BOOK, True),
        ("book", BOOK[:-1], False),
        ("job", f"book-{BOOK}-v1", True),
        ("job", f"context-full-{BOOK}-v12", True),
        ("job", f"chapter-{BOOK}", True),
        ("job", f"book-{BOOK}", False),
        ("fingerprint", "0123456789abcdef", True),
        ("fingerprint", "0123456789abcde", False),
    ],
)
def test_whole_ids_are_known_by_their_form(api: FakeApi, kind: Any, text: str, is_whole: bool) -> None:
    api.answer("GET /api/identifiers", {"matches": ["found"], "more": False})
    found = identifiers.whole_id(context.Context(url=api.url).client, kind, text)
    assert found == (text if is_whole else "found")


# Exit codes


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 2), (401, 1), (403, 1), (404, 1), (409, 1), (413, 2), (415, 2), (422, 2), (429, 1), (503, 3)],
)
def test_a_refusal_has_the_exit_code_that_the_help_names(run: Run, api: FakeApi, status: int, code: int) -> None:
    api.answer("GET /api/books", {"detail": "this is why"}, status, "application/problem+json")
    assert run("books") == (code, "", "bindery: this is why\n")


@pytest.mark.parametrize(("status", "code"), [(200, 3), (404, 3), (413, 2), (502, 3)])
def test_what_does_not_answer_as_bindery_does_is_said_so(run: Run, api: FakeApi, status: int, code: int) -> None:
    api.answer("GET /api/books", "<h1>Hello</h1>", status, "text/html")
    ended, _, err = run("books")
    assert ended == code
    assert "is this its address?" in err


@pytest.mark.parametrize("url", ["foo", "ftp://x", "http://", "http://[::1", "localhost:8080"])
def test_an_address_that_is_none_is_asked_wrongly(run: Run, url: str) -> None:
    assert run("watch", BOOK, "--url", url)[0] == 2


@pytest.mark.parametrize("action", [["redrive"], ["discard", "--reason", "x"]])
def test_what_matches_no_dead_letter_has_failed(run: Run, api: FakeApi, action: list[str]) -> None:
    api.answer("POST /api/dead-letters/redrive", {"batch_id": BOOK, "accepted": [], "refused": []})
    api.answer("POST /api/dead-letters/discard", {"discarded": 0})
    asked = ("dead-letters", *action, "--fingerprint", "0123456789abcdef")

    assert run(*asked) == (1, "", "bindery: no open dead letter matches\n")
    code, out, _ = run(*asked, "--json")
    assert code == 1
    assert json.loads(out)


def test_a_redrive_of_which_all_are_refused_has_failed_and_says_why(run: Run, api: FakeApi) -> None:
    refused = [{"dead_letter_id": 7, "reason": "it is queued for a redrive already"}]
    api.answer("POST /api/dead-letters/redrive", {"batch_id": BOOK, "accepted": [], "refused": refused})
    code, out, _ = run("dead-letters", "redrive", "7")
    assert (code, out) == (1, "refused: 7: it is queued for a redrive already\n")


def test_a_book_says_how_many_of_its_chapters_have_no_summary(run: Run, api: FakeApi) -> None:
    chapters = {"total": 61, "done": 61, "processed": 59, "embedded": 61, "failed": 0, "without_metadata": 2}
    told = {"status": "completed", "progress": 100, "phase": "completed", "version": 1, "error": None}
    told["current_version"] = 1
    api.answer(f"GET /api/books/{BOOK}/status", {**told, "chapters": chapters})

    assert "chapters: 61 of 61 done, 0 failed, 2 without summary\n" in run("status", BOOK)[1]


def test_a_chapter_without_a_summary_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    read = {"number": 1, "title": "One", "word_count": 9, "metadata": {"summary": "Rain."}, "lacks": {}}
    refused = {"number": 2, "title": "Two", "word_count": 9, "metadata": None, "lacks": {"metadata": "blocked"}}
    view.show_chapters([read, refused])

    *_, one, two = capsys.readouterr().out.splitlines()
    assert one.split() == ["1", "One", "9", "Rain."]
    assert two.split() == ["2", "Two", "9", "no", "summary:", "blocked"]


# Watching


@pytest.fixture
def watched(api: FakeApi) -> FakeApi:
    api.answer(f"GET /api/books/{BOOK}/status", {"status": "completed"})
    return api


def test_a_stack_that_streams_its_documents_is_watched_by_its_address_alone(run: Run, watched: FakeApi) -> None:
    told = json.dumps({"path": f"books/{BOOK}", "fields": FINISHED})
    watched.answer(EVENTS, f": listening\n\nid: 1\nevent: document\ndata: {told}\n\n", kind=SSE)
    assert run("watch", BOOK) == (0, SEEN, "")


def test_without_a_project_watching_a_deployment_says_what_to_name() -> None:
    with pytest.raises(Unwatchable) as said:
        Client(url="https://books.example").listen(BOOK)
    for name in ("--project", "GOOGLE_CLOUD_PROJECT", "FIRESTORE_EMULATOR_HOST"):
        assert name in str(said.value)


@pytest.mark.parametrize("line", ["", "data: no JSON\n\n", "data: {}\n\n", "data: []\n\n"])
def test_a_stream_that_breaks_off_ends_the_watch(run: Run, watched: FakeApi, line: str) -> None:
    watched.answer(f"GET /api/books/{BOOK}/status", {"status": "processing"})
    watched.answer(EVENTS, line, kind=SSE)
    assert run("watch", BOOK) == (1, "", "bindery: the connection to the local stack was lost\n")


def test_a_stream_that_breaks_off_before_the_end_misses_no_end(run: Run, watched: FakeApi) -> None:
    watched.answer(f"GET /api/books/{BOOK}/status", FINISHED)
    watched.answer(EVENTS, "", kind=SSE)
    assert run("watch", BOOK) == (0, SEEN, "")


class Silent(Listener):
    def __init__(self, active: bool) -> None:
        super().__init__("Firestore of p")
        self._active = active

    def is_active(self) -> bool:
        return self._active

    def close(self) -> None:
        pass


def test_a_listener_that_was_refused_is_not_waited_for() -> None:
    with pytest.raises(ListenFailed, match="was lost"):
        next(Silent(active=False).follow(600))


def test_a_listener_that_is_never_answered_is_given_up() -> None:
    silent = Silent(active=True)
    silent.first_answer_seconds = 0.1
    with pytest.raises(ListenFailed, match="Firestore of p did not answer"):
        next(silent.follow(600))


# Moving books to another model

ESTIMATE = {
    "model": {"name": "new", "version": "1"},
    "leaving": [{"name": "old", "version": "2", "books": 3}],
    **{"books": 3, "chapters": 30, "passages": 300, "tokens": 90_000, "requests": 7},
    **{"is_extrapolated": True, "generating_requests": 2},
}
TAKES = """to        new (version 1)
from      old (version 2), 3 books
books     3, with 30 chapters
passages  about 300, at most; about 90000 tokens
requests  about 7 to the embedding model
          2 to the generating model: metadata that failed before
"""


def wish(**counts: int) -> dict[str, Any]:
    about = {"reembedding_id": OTHER, "model": ESTIMATE["model"], "book_id": None, "owner_uid": None}
    about |= {"stopped_at": None, "finished_at": None}
    return about | {name: counts.get(name, 0) for name in ("done", "under_way", "left", "failed", "skipped")}


@pytest.fixture
def moving(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """Three books of which two are left, and done when it is asked again."""
    monkeypatch.setattr(reembed, "_POLL_SECONDS", 0.0)
    api.answer("GET /api/reembeddings/estimate", ESTIMATE)
    api.answer("POST /api/reembeddings", wish(done=1, under_way=1, left=1), 202)
    api.answer("POST /api/reembeddings/next", {"begun": 1})
    api.answer(f"GET /api/reembeddings/{OTHER}", wish(done=3))
    return api


def test_books_move_when_it_was_said_what_it_takes_and_how_far_they_are_is_shown(run: Run, moving: FakeApi) -> None:
    code, out, err = run("reembed", "--yes")
    assert (code, out) == (0, "3 done, 0 under way, 0 left, 0 failed, 0 skipped\n")
    assert err == "1 done, 1 under way, 1 left, 0 failed, 0 skipped\n"
    assert moving.asked == [
        "GET /api/reembeddings/estimate",
        "POST /api/reembeddings",
        "POST /api/reembeddings/next",
        f"GET /api/reembeddings/{OTHER}",
    ]


def test_nothing_moves_that_nobody_says_yes_to(run: Run, moving: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    code, out, _ = run("reembed", "--book", BOOK)
    assert code == 1
    assert out.startswith(TAKES)
    assert moving.asked == [f"GET /api/reembeddings/estimate?book_id={BOOK}"]


def test_a_dry_run_only_says_what_it_takes(run: Run, moving: FakeApi) -> None:
    assert run("reembed", "--dry-run", "--owner", "ann") == (0, TAKES, "")
    code, out, _ = run("reembed", "--dry-run", "--json")
    assert (code, json.loads(out)) == (0, ESTIMATE)
    assert all(asked.startswith("GET /api/reembeddings/estimate") for asked in moving.asked)


def test_a_move_of_which_books_failed_fails_and_says_where_to_look(run: Run, moving: FakeApi) -> None:
    moving.answer(f"GET /api/reembeddings/{OTHER}", wish(done=2, failed=1))
    code, out, err = run("reembed", "--yes", "--json")
    assert (code, json.loads(out)["failed"]) == (1, 1)
    assert err == "bindery: 1 books failed: `bindery dead-letters groups` says why\n"


def test_how_far_it_is_is_shown_and_it_can_be_stopped(run: Run, api: FakeApi) -> None:
    open_wish = wish(done=1, left=2)
    stopped = open_wish | {"stopped_at": "2026-01-01T00:00:00Z", "book_id": BOOK}
    api.answer("GET /api/reembeddings", {"reembeddings": [open_wish]})
    api.answer("POST /api/reembeddings/stop", {"reembeddings": [stopped]})
    counts = "1 done, 0 under way, 2 left, 0 failed, 0 skipped"
    assert run("reembed", "--status") == (0, f"all books to new (version 1), open: {counts}\n", "")
    assert run("reembed", "--stop") == (0, f"book {BOOK} to new (version 1), stopped: {counts}\n", "")


@pytest.mark.parametrize("options", [["--status", "--stop"], ["--dry-run", "--stop"], ["--status", "--book", BOOK]])
def test_what_can_not_be_asked_together_is_wrong_usage(run: Run, api: FakeApi, options: list[str]) -> None:
    assert run("reembed", *options)[0] == 2
    assert api.asked == []
