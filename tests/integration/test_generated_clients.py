"""Clients that generators make of the OpenAPI document: they compile, and what they call answers as they expect."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_document import api_document
from tests.support.serving import serving
from tests.support.web_app import link_node_modules
from tests.support.world import World, manuscript

IN_PYTHON = """
import sys
from bindery_client import AuthenticatedClient
from bindery_client.api.books import get_book_status, import_book, list_chapters
from bindery_client.api.search import search
from bindery_client.models import ImportBody, Problem, Status

client = AuthenticatedClient(base_url=sys.argv[1], token="ann")
match sys.argv[2:]:
    case ["import"]:
        print(import_book.sync(client=client, body=ImportBody(title="A Book", content=sys.stdin.read())).book_id)
    case ["read", book]:
        status = get_book_status.sync(book, client=client)
        assert status.status is Status.COMPLETED and status.chapters.failed == 0, status
        assert [chapter.number for chapter in list_chapters.sync(book, client=client).chapters] == [1, 2]
        assert search.sync(client=client, q="a word", book_id=book).results[0].book_title == "A Book"
    case ["miss", book]:
        problem = get_book_status.sync(book, client=client)
        assert isinstance(problem, Problem), problem
        print(problem.code)
"""

IN_TYPESCRIPT = """
import type { components, operations, paths } from "./api";

type Found = operations["search"]["responses"]["200"]["content"]["application/json"];
type Refused = operations["get_book"]["responses"]["404"]["content"]["application/problem+json"];
type Asked = paths["/api/books/import"]["post"]["requestBody"]["content"]["application/json"];

export const best = (found: Found): string => found.results[0].chapter_title;
export const isGone = (problem: Refused): boolean => problem.code === "unknown_book";
export const asked: Asked = { title: "A Book", content: "Once.", force: false, allow_partial: false };
export const done = (book: components["schemas"]["StatusReply"]): boolean => book.status === "completed";
// @ts-expect-error There is no such code.
export const isOdd = (problem: Refused): boolean => problem.code === "odd";
"""


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openapi") / "openapi.json"
    path.write_text(json.dumps(api_document()))
    return path


def run(command: Sequence[object], folder: Path, given: str = "") -> str:
    """What it wrote. It must end with 0."""
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, input=given, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def generated(document: Path) -> Path:
    """The folder of a client for Python."""
    folder = document.parent
    (folder / "config.yaml").write_text("post_hooks: []\npackage_name_override: bindery_client\n")
    generate = "from openapi_python_client.cli import app; app()"
    said = run(
        [sys.executable, "-c", generate, "generate", "--path", document, "--config", "config.yaml", "--meta", "none"],
        folder,
    )
    assert "WARNING" not in said, said
    return folder


def test_a_generated_client_for_python_imports_reads_searches_and_tells_problems(dsn: str, generated: Path) -> None:
    world = World(dsn)

    def client(*what: str, given: str = "") -> str:
        return run([sys.executable, "-c", IN_PYTHON, f"http://127.0.0.1:{port}", *what], generated, given).strip()

    with serving(world.app.api) as port:
        book = client("import", given=manuscript(2))
        world.run()
        client("read", book)
        assert client("miss", "00000000-0000-4000-8000-000000000000") == "unknown_book"
    world.close()


def test_types_that_are_generated_for_typescript_compile_and_know_the_codes(
    document: Path, web_sdk: Path, tmp_path: Path
) -> None:
    link_node_modules(tmp_path, web_sdk)
    modules = tmp_path / "node_modules"
    run(["node", modules / "openapi-typescript" / "bin" / "cli.js", document, "-o", "api.d.ts"], tmp_path)
    (tmp_path / "program.ts").write_text(IN_TYPESCRIPT)
    run(["node", modules / "typescript" / "bin" / "tsc", "--noEmit", "--strict", "program.ts"], tmp_path)


def test_each_operation_has_a_name_of_its_own_a_tag_and_problems_of_one_kind() -> None:
    document: Any = api_document()
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    names = [operation["operationId"] for operation in operations]
    described = {tag["name"] for tag in document["tags"]}
    assert sorted(set(names)) == sorted(names)
    assert all(name.replace("_", "").isalpha() for name in names)
    assert {tag for operation in operations for tag in operation["tags"]} == described
    problems = {
        json.dumps(answer["content"])
        for operation in operations
        for status, answer in operation["responses"].items()
        if status >= "400"
    }
    assert problems == {'{"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}'}
