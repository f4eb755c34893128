"""The README's snippets, run as they stand there against one local stack: shell, curl, Python and JavaScript."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest
import requests

from infra.local.emulators import Missing, find_emulators
from shared.adapters.fake_models import FakeContextExtractor, FakeEmbedder
from shared.bootstrap import Overrides
from shared.domain.errors import Rejected
from tests.support.firestore_stack import run_embedded_stack
from tests.support.lacking import lacking
from tests.support.waiting import poll
from tests.support.web_app import WEB_APP, link_node_modules

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BY_HAND = (ROOT / "infra" / "clients" / "README.md").read_text("utf-8")
CLIENTS = ROOT / "infra" / "clients"
SAMPLE = ROOT / "infra" / "local" / "sample.md"
SAMPLE_CHAPTERS = 11
USER = "local"  # whom the local stack takes everyone for
DEADLINE = 60.0

# It runs this file.
NOT_RUN = {"./infra/test"}
# What would lead the commands elsewhere.
LEADS_ELSEWHERE = ("BINDERY_URL", "BINDERY_TOKEN", "BINDERY_PROJECT", "BINDERY_DATA_DIR", "FIRESTORE_EMULATOR_HOST")


def blocks(language: str, page: str = README) -> list[str]:
    """The code blocks in that language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def shell_lines() -> list[str]:
    """Each command line of the shell blocks that start our own scripts, without its comment."""
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("./infra/")]
    return [shlex.join(shlex.split(line, comments=True)) for line in lines]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A folder like the repository's, and the environment that its local stack gives to apps."""

    folder: Path
    environment: dict[str, str]

    def run(self, line: str) -> str:
        """What the command line wrote to standard output. It must end with 0."""
        environment = surroundings() | self.environment | {"TOKEN": "anything"}
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=DEADLINE
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def import_book(self, title: str, content: str) -> str:
        """Its id."""
        with self._session() as session:
            body = {"title": title, "content": content}
            reply = session.post(f"{self.environment['BINDERY_URL']}/api/books/import", json=body, timeout=DEADLINE)
        return str(reply.json()["book_id"])

    def get(self, path: str) -> Any:
        with self._session() as session:
            return session.get(f"{self.environment['BINDERY_URL']}{path}", timeout=DEADLINE).json()

    def _session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # no proxy stands before the loopback interface
        return session


def surroundings() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in LEADS_ELSEWHERE}
    return kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "COLUMNS": "120"}


@dataclass(frozen=True)
class Models:
    """What models do with two texts: one keeps its book under way, the other fails it for good."""

    slow: str = "Chapter 1\n\nThe tide waits for nobody.\n"
    unreadable: str = "Chapter 1\n\nThe ink has run.\n"
    end: threading.Event = field(default_factory=threading.Event)

    def extract(self, text: str) -> None:
        if text.strip() in self.slow:
            self.end.wait(DEADLINE)

    def embed(self, texts: Sequence[str]) -> None:
        if any(text.strip() in self.unreadable for text in texts):
            raise Rejected("the model can't read this")


MODELS = Models()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack that `bindery dev` would run in that folder, but that it is embedded, and its models are instant."""
    folder = tmp_path_factory.mktemp("readme")
    script = folder / "infra" / "bindery"
    script.parent.mkdir()
    # The repository's own would set up a virtual environment first.
    script.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {sys.executable} -m infra.cli.main "$@"\n')
    script.chmod(0o755)
    shutil.copy(SAMPLE, folder / "my-novel.txt")
    found = find_emulators()
    emulators = None if isinstance(found, Missing) else found
    overrides: Overrides = {
        "extractor": FakeContextExtractor(MODELS.extract),
        "embedder": FakeEmbedder(MODELS.embed),
    }
    (folder / ".bindery").mkdir()
    with run_embedded_stack(folder / ".bindery", emulators, overrides) as running:
        yield Stack(folder=folder, environment=running.environment)
        MODELS.end.set()


@contextmanager
def listening(command: list[str], **how: Any) -> Iterator[IO[str]]:
    """The lines of a process that goes on until the end of the block; or until the deadline, if nobody reads more."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **how)
    assert process.stdout is not None
    guard = threading.Timer(2 * DEADLINE, process.kill)
    guard.start()
    try:
        yield process.stdout
    finally:
        guard.cancel()
        process.terminate()
        process.wait(DEADLINE)
        process.stdout.close()
        if process.stdin:
            process.stdin.close()


@pytest.fixture(scope="module")
def firestore(stack: Stack) -> str:
    """The emulator's `host:port`."""
    if isinstance(found := find_emulators(), Missing):
        lacking(f"no emulators: {found.reason}")
    return stack.environment["FIRESTORE_EMULATOR_HOST"]


@pytest.fixture(scope="module")
def book(stack: Stack) -> str:
    return stack.import_book("For listeners", SAMPLE.read_text("utf-8"))


def finished_book(stack: Stack) -> dict[str, str]:
    return {"BOOK": stack.get("/api/books")["books"][0]["book_id"]}


def book_under_way(stack: Stack) -> dict[str, str]:
    return {"BOOK": stack.import_book("Slow", MODELS.slow)}


def failed_book(stack: Stack) -> dict[str, str]:
    """One whose vectors are rejected."""
    book_id = stack.import_book("Unreadable", MODELS.unreadable)
    (letter,) = wait_for(lambda: stack.get(f"/api/dead-letters?book_id={book_id}")["dead_letters"])
    return {"BOOK": book_id, "NUMBER": str(letter["dead_letter_id"]), "FINGERPRINT": letter["fingerprint"]}


def failed_again(stack: Stack) -> dict[str, str]:
    """Its redrive has failed, so that it can be redriven once more."""
    (letter,) = wait_for(lambda: [x for x in stack.get("/api/dead-letters")["dead_letters"] if x["times"] > 1])
    return {"BOOK": letter["book_id"]}


def wait_for(find: Callable[[], list[Any]]) -> list[Any]:
    for _ in poll(DEADLINE, "what was asked for"):
        if found := find():
            return found
    raise AssertionError


# What a command needs, and what its placeholders stand for.
PREPARATIONS: Mapping[str, Callable[[Stack], dict[str, str]]] = {
    "status": finished_book,
    "cancel": book_under_way,
    "dead-letters": failed_book,
    "retry": failed_again,
}


def test_every_shell_command_runs_in_the_order_of_the_page(stack: Stack) -> None:
    outputs: dict[str, str] = {}
    known: dict[str, str] = {}
    prepared: set[str] = set()
    for line in [line for line in shell_lines() if line not in NOT_RUN]:
        verb = line.split()[1]
        if verb in PREPARATIONS and verb not in prepared:
            known |= PREPARATIONS[verb](stack)
            prepared.add(verb)
        command = line
        for name, value in known.items():
            command = re.sub(rf"\b{name}\b", value, command)
        outputs[" ".join(line.split()[1:3])] = stack.run(command)

    assert "100 %  completed" in outputs["import my-novel.txt"]
    assert "completed" in outputs["status BOOK"]
    assert "cancelled" in outputs["cancel BOOK"]
    assert "cancelled" not in outputs["resume BOOK"]
    assert "the model can't read this" in outputs["dead-letters show"]
    assert "accepted: 1" in outputs["dead-letters redrive"]
    assert "accepted: 1" in outputs["retry BOOK"]


def test_the_demo_shows_what_the_page_shows(stack: Stack) -> None:
    shown = stack.run("./infra/bindery demo")
    (first_chapter,) = re.findall(r"\n(  1  Chapter One.*?\d+)  ", README)

    assert first_chapter.split() in [line.split()[: len(first_chapter.split())] for line in shown.splitlines()]


def test_a_replays_receipt_is_as_the_page_shows_it(stack: Stack, book: str) -> None:
    wait_for(lambda: [s for s in [stack.get(f"/api/books/{book}/status")] if s["status"] == "completed"])
    (example,) = [block for block in blocks("text") if block.startswith("$ ")]
    command, receipt = example.removeprefix("$ ").split("\n", 1)
    uuid = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")

    assert uuid.sub("ID", stack.run(command.replace("BOOK", book))) == uuid.sub("ID", receipt)


def test_an_import_by_curl_answers_what_the_page_says(stack: Stack) -> None:
    (snippet,) = [block for block in blocks("sh") if block.startswith("curl")]
    (promised,) = re.findall(r"# 202 \{(.*?), \.\.\.\}", snippet)

    reply = json.loads(stack.run(snippet))
    assert list(json.loads(f"{{{promised}}}")) == list(reply)[:4]
    assert reply["job_id"] == f"book-{reply['book_id']}-v1"
    assert (reply["status"], reply["progress"]) == ("processing", 0)


def test_a_listener_in_python_hears_the_book_to_its_end(stack: Stack, firestore: str, book: str) -> None:
    (snippet,) = blocks("python", BY_HAND)
    before = f"project = {stack.environment['GOOGLE_CLOUD_PROJECT']!r}\nbook_id = {book!r}\n"
    program = f"{before}{snippet}\nimport sys\nsys.stdin.read()\n"
    environment = surroundings() | {"FIRESTORE_EMULATOR_HOST": firestore, "PYTHONUNBUFFERED": "1"}

    with listening([sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE) as lines:
        progress = []
        for line in lines:
            progress.append(int(line))
            if progress[-1] == 100:
                break
    assert progress == sorted(progress)
    assert progress[-1] == 100


@dataclass(frozen=True, kw_only=True)
class WebApp:
    """The README's JavaScript in Node with the real SDK, whose user's token the emulator believes."""

    folder: Path
    stack: Stack
    firestore: str

    def run(self, snippet: str, uid: str, book: str, is_enough: Callable[[list[Any]], bool]) -> list[Any]:
        """What it shows, until that is enough."""
        (connect,) = re.findall(r"// On the emulator, first: (.*)", BY_HAND)
        app = self.folder / "app.mjs"
        app.write_text(f"{(WEB_APP / 'app.mjs').read_text()}\n{connect}\n{snippet}")
        arguments = [*self.firestore.split(":"), self.stack.environment["GOOGLE_CLOUD_PROJECT"], uid, book]
        shown: list[Any] = []
        with listening(["node", str(app), *arguments], env=surroundings(), stderr=subprocess.DEVNULL) as lines:
            for line in lines:
                shown.append(json.loads(line))
                if is_enough(shown):
                    return shown
        raise AssertionError(f"it ended after {shown}")


@pytest.fixture
def web_app(stack: Stack, firestore: str, web_sdk: Path, tmp_path: Path) -> WebApp:
    link_node_modules(tmp_path, web_sdk)
    return WebApp(folder=tmp_path, stack=stack, firestore=firestore)


def test_a_web_app_hears_its_users_book_and_chapters(web_app: WebApp, book: str) -> None:
    (snippet,) = blocks("js", BY_HAND)
    end = ["book", f"completed, 100 % completed: {SAMPLE_CHAPTERS} of {SAMPLE_CHAPTERS} chapters"]

    grid = ["grid", *2 * ["#" * SAMPLE_CHAPTERS]]

    def is_enough(shown: list[Any]) -> bool:
        return end in shown and grid in shown and len(chapters_done(shown)) == SAMPLE_CHAPTERS

    shown = web_app.run(snippet, USER, book, is_enough)
    assert sorted(chapters_done(shown)) == [f"{n:04d}" for n in range(1, SAMPLE_CHAPTERS + 1)]
    assert [what for what in shown if what[0] == "error"] == []


def test_the_web_client_shows_a_book_to_its_end(web_app: WebApp, book: str) -> None:
    (snippet,) = blocks("js")

    def is_enough(shown: list[Any]) -> bool:
        *_, last = ([], {"state": ""}, None, None, {}), *(what[1:] for what in shown if what[0] == "seen")
        return last[0] == "done" and len(last[3]) == SAMPLE_CHAPTERS

    *_, (_, _, known, grid, chapters) = web_app.run(snippet, USER, book, is_enough)
    assert (known["status"], grid["embeddings"]) == ("completed", "#" * SAMPLE_CHAPTERS)
    assert {chapter["status"] for chapter in chapters.values()} == {"completed"}


def test_the_python_client_imports_a_book_and_hears_of_it_to_its_end(stack: Stack) -> None:
    (snippet,) = blocks("python")
    before = f"url, token, text = {stack.environment['BINDERY_URL']!r}, None, {SAMPLE.read_text('utf-8')!r}\n"
    environment = surroundings() | {"PYTHONPATH": str(CLIENTS / "python")}
    done = subprocess.run(
        [sys.executable, "-c", before + snippet], env=environment, capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.stdout.splitlines()[-1:] == ["done 100"], done.stderr


def test_the_example_in_python_shows_a_book_and_finds_in_it(stack: Stack) -> None:
    environment = surroundings() | stack.environment | {"PYTHONPATH": str(CLIENTS / "python")}
    command = [sys.executable, str(CLIENTS / "examples" / "watch.py"), str(SAMPLE), "the tide"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE)
    _, found = done.stdout.split("done: 100 % completed\n")
    assert re.match(r"\d+\. ", found), done.stderr


def chapters_done(shown: list[Any]) -> set[str]:
    return {what[1] for what in shown if what[0] == "chapter" and what[2]["status"] == "completed"}


def test_without_the_where_clause_the_query_for_the_chapters_is_denied(web_app: WebApp, book: str) -> None:
    (snippet,) = blocks("js", BY_HAND)
    without = snippet.replace(', where("owner_uid", "==", uid)', "")
    assert without != snippet

    shown = web_app.run(without, USER, book, lambda told: {"book", "error"} <= {what[0] for what in told})
    assert ["error", "permission-denied"] in shown
    assert "chapter" not in {what[0] for what in shown}


def test_somebody_else_hears_neither_book_nor_chapters(web_app: WebApp, book: str) -> None:
    (snippet,) = blocks("js", BY_HAND)

    shown = web_app.run(snippet, "edmund", book, lambda told: ["error", "permission-denied"] in told)
    assert {what[0] for what in shown} == {"error"}
