"""The command line, as its user runs it."""

from __future__ import annotations

import json
import math
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tests.support.command_line import bindery, call
from tests.support.dev_stack import STOP_SECONDS, address, dev
from tests.support.waiting import wait_gone
from tests.support.world import manuscript

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = [
    ("who came out of hiding in a boat to save them from the fire?", {8, 9}),
    ("an old lighthouse keeper confesses that he was afraid", {3}),
    ("a false light shown to lure ships on to the rocks", {3, 4}),
    ("what was hidden inside the cover of the rent book", {7}),
    ("the ring that he turns when he tells a lie", {4, 6, 11}),
    ("letters that were stolen by the postman and kept", {10}),
    ("the apothecary was paid with a stolen ship's clock", {5}),
    ("a boy goes back into the burning shop for gold leaf", {8}),
]


@pytest.fixture(scope="module", params=["embedded", "emulators"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A `bindery dev` with the local models; its data folder."""
    if request.param == "emulators":
        request.getfixturevalue("emulators")
    data = tmp_path_factory.mktemp(request.param)
    with dev(data, request.param) as process:
        family = process.children(recursive=True)
        yield data
    wait_gone(*(p.pid for p in family))


ROWS = """
    SELECT r.chapter_number, r.title, r.word_count, r.metadata::text AS metadata, k.chunk_index, k.chunk_text,
           k.chunk_embedding::real[] AS vector
    FROM recent_chapters r JOIN chapter_chunks k USING (chapter_id) WHERE r.book_id = %s ORDER BY 1, 5
"""
rows_by_backend: dict[str, list[tuple[Any, ...]]] = {}


@pytest.fixture(scope="module")
def book(stack: Path) -> str:
    """The sample, imported and watched to its end by a real listener."""
    sample = Path(__file__).resolve().parents[2] / "infra" / "local" / "sample.md"
    reply, *changes = call(stack, "import", str(sample), "--watch")
    progress = [c["progress"] for c in changes if c["path"].count("/") == 1]
    assert progress == sorted(progress)
    assert progress[-1] == 100
    book_id = str(reply["book_id"])
    with psycopg.connect(address(stack)["BINDERY_DATABASE_URL"]) as connection:
        rows_by_backend[stack.name] = connection.execute(ROWS, (book_id,)).fetchall()
    return book_id


def test_an_imported_book_shows_its_status_jobs_and_place_in_the_list(stack: Path, book: str) -> None:
    (status,) = call(stack, "status", book)
    (job,) = call(stack, "jobs", f"book-{book}-v1")
    (books,) = call(stack, "books")

    assert (status["status"], status["chapters"]["done"]) == ("completed", 11)
    assert job["state"] == "completed"
    assert book in [b["book_id"] for b in books["books"]]


def test_dev_says_in_one_line_of_json_how_to_connect(stack: Path, book: str) -> None:
    """And nothing else on its standard output, though the functions write log lines as they work."""
    (line,) = (stack / "out").read_text().splitlines()

    assert json.loads(line)["environment"] == address(stack)
    assert json.loads(line)["backend"] in stack.name
    assert "stage.done" in (stack / "log").read_text()


def test_questions_in_other_words_find_their_chapter(stack: Path, book: str) -> None:
    found = 0
    for question, chapters in QUESTIONS:
        (reply,) = call(stack, "search", question, "--book", book, "-k", "5")
        found += bool(chapters & {r["chapter_number"] for r in reply["results"]})
    assert found >= len(QUESTIONS) - 1


def test_watching_a_finished_book_says_so_at_once(stack: Path, book: str) -> None:
    done = bindery(stack, "watch", book)
    assert done.returncode == 0
    assert "completed" in done.stdout


def test_the_exports_of_dev_are_all_that_a_client_in_another_folder_needs(
    stack: Path, book: str, tmp_path: Path
) -> None:
    exports = address(stack)
    for arguments, said in ((["watch", book[:8]], "completed"), (["migrate"], "up to date")):
        done = bindery(None, *arguments, env=exports | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert said in done.stdout


def test_ids_may_be_cut_short(stack: Path, book: str) -> None:
    assert call(stack, "status", book[:8]) == call(stack, "status", f"{book[:8]}…") == call(stack, "status", book)
    assert call(stack, "jobs", f"book-{book[:8]}...-v1")[0]["id"] == f"book-{book}-v1"


def test_standard_input_can_be_imported(stack: Path) -> None:
    done = bindery(stack, "import", "-", "--title", "Piped", stdin="Chapter 1\n\nHello there.\n")
    assert done.returncode == 0
    assert done.stdout.startswith("book ")


def test_an_unknown_book_is_an_error_without_a_traceback(stack: Path) -> None:
    done = bindery(stack, "status", "00000000-0000-0000-0000-000000000000")
    assert done.returncode == 1
    assert done.stderr.strip() == "bindery: there is no such book"


def test_the_demo_prints_one_object_and_leaves_nothing_running(tmp_path: Path) -> None:
    done = bindery(tmp_path, "demo", "--backend", "embedded", "--json")

    result = json.loads(done.stdout)
    assert set(result) == {"book_id", "status", "backend", "seconds", "chapters", "summary", "search"}
    assert (result["status"], result["backend"], len(result["chapters"])) == ("completed", "embedded", 11)
    assert set(result["chapters"][0]) == {"number", "title", "words"}
    assert result["search"]["results"][0]["passage"]
    assert [p for p in psutil.process_iter() if str(tmp_path) in " ".join(_command(p))] == []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stack_that_is_stopped_in_any_way_leaves_no_process_behind(tmp_path: Path, number: int) -> None:
    with dev(tmp_path, "embedded") as process:
        family = process.children(recursive=True)
        process.send_signal(number)
        process.wait(STOP_SECONDS)
    wait_gone(*(p.pid for p in family))


def test_a_web_app_is_told_where_the_stack_is(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    with dev(tmp_path, "embedded", None, "--app", str(app)):
        url = address(tmp_path)["BINDERY_URL"]

        assert (app / ".env.local").read_text().splitlines()[1] == f"VITE_BINDERY_URL={url}"


def test_a_port_that_is_taken_is_refused_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = bindery(tmp_path, "dev", "--backend", "embedded", "--port", str(port))

    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status", "x", "--data-dir", "/nonexistent"], 3, "no local stack is running"),
        (["import", "/nonexistent.txt"], 2, "No such file"),
        (["books", "--url", "http://127.0.0.1:1"], 3, "can't reach"),
        (["demo", "--backend", "cloud"], 2, "auto, emulators or embedded"),
    ],
)
def test_mistakes_get_a_line_and_an_exit_code(arguments: list[str], code: int, words: str) -> None:
    done = bindery(None, *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"PK\x03\x04\xff\xfe")
    done = bindery(None, "import", str(tmp_path / "a.docx"))
    assert done.returncode == 2
    assert "zipped file" in done.stderr
    assert "only text and Markdown can be imported" in done.stderr


def test_asking_for_missing_emulators_says_what_to_install(tmp_path: Path) -> None:
    done = bindery(tmp_path, "dev", "--backend", "emulators", env={"BINDERY_EMULATORS_HOME": str(tmp_path)})
    assert done.returncode == 1
    assert "gcloud components install" in done.stderr


def test_a_book_is_cancelled_resumed_and_deleted(stack: Path) -> None:
    (reply,) = call(stack, "import", "-", "--title", "Cancelled", stdin=manuscript(24, 250))
    book = reply["book_id"]
    assert call(stack, "cancel", book) == [{"book_id": book, "status": "cancelled"}]
    assert bindery(stack, "watch", book).returncode == 1
    assert call(stack, "resume", book)[0]["status"] != "cancelled"
    assert bindery(stack, "watch", book).returncode == 0
    refused = bindery(stack, "resume", book)
    assert (refused.returncode, refused.stderr) == (
        1,
        "bindery: the book is completed, not cancelled: there is nothing to resume\n",
    )

    assert bindery(stack, "delete", book, stdin="n\n").returncode != 0
    assert call(stack, "status", book)[0]["status"] == "completed"
    assert call(stack, "delete", book, "--yes") == [{"deleted": book}]
    gone = bindery(stack, "status", book)
    assert (gone.returncode, gone.stderr) == (1, "bindery: there is no such book\n")


def test_a_manuscript_without_words_is_refused_and_makes_no_book(stack: Path) -> None:
    before = call(stack, "books")
    refused = bindery(stack, "import", "-", "--title", "Empty", stdin=" \n")

    assert refused.returncode == 2
    assert "the manuscript holds no words" in refused.stderr
    assert call(stack, "books") == before
    assert call(stack, "dead-letters", "list")[0]["dead_letters"] == []


def test_a_replay_shows_a_receipt_without_a_model_call_or_a_changed_row(stack: Path, book: str) -> None:
    (dry,) = call(stack, "replay", "chapter-processing", "--book", book, "--dry-run")
    (receipt,) = call(stack, "replay", "chapter-processing", "--book", book)
    call(stack, "snapshot", "create", "now")
    (later,) = call(stack, "replay", "embedding-generation", "--since", "1h")

    assert (dry["expected"], dry["replay_id"]) == (3, None)
    assert receipt["messages_redelivered"] == receipt["expected"] == 3
    assert call(stack, "receipt", receipt["replay_id"]) == [receipt]
    assert later["messages_redelivered"] >= 1
    for told in (receipt, later):
        assert (told["stages_repeated"], told["model_calls"], told["rows_changed"]) == (0, 0, 0)
    assert [s["name"] for s in call(stack, "snapshot", "list")[0]["snapshots"]] == ["now"]
    assert call(stack, "snapshot", "delete", "now") == [{"deleted": "now"}]


def test_live_documents_are_written_anew(stack: Path, book: str) -> None:
    (all_of_them,) = call(stack, "project", "--all")
    (one,) = call(stack, "project", "--book", book)
    (restored,) = call(stack, "restored")

    assert all_of_them["documents"] >= one["documents"] >= 12
    assert (restored["books"], restored["deleted"]) == (all_of_them["books"], 0)
    assert one["books"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["replay", "chapter-processing"], "name one of --since, --snapshot and --book"),
        (["project"], "name one of --all and --book"),
        (["dead-letters", "redrive"], "choose by numbers"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_a_line(arguments: list[str], message: str) -> None:
    done = bindery(None, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_every_backend_came_to_the_same_rows_and_vectors() -> None:
    if len(rows_by_backend) < 2:
        pytest.skip("the tests above ran on fewer than two backends")
    one, other = rows_by_backend.values()

    assert [r[:-1] for r in one] == [r[:-1] for r in other]
    assert all(math.dist(a[-1], b[-1]) < 1e-3 for a, b in zip(one, other, strict=True))
