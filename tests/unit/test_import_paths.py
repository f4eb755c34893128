"""Which files `bindery import` takes, and the report that it goes on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.fake_import_api import (
    FakeImportApi,
    RunImport,
    entries_of_report,
    write_books,
)


def test_a_report_whose_last_line_is_cut_is_gone_on_with(run_import: RunImport, import_api: FakeImportApi) -> None:
    write_books(a="One.", b="Two.")
    run_import("books", "--report", "report.jsonl")
    report = Path("report.jsonl")
    for cut in range(1, len(report.read_text().splitlines()[-1]) + 1, 40):
        report.write_text(report.read_text()[:-cut])
        assert run_import("books", "--report", "report.jsonl", "--resume")[0] == 0
        assert sorted(entries_of_report()) == ["a", "b"]
    assert {b["version"] for b in import_api.books.values()} == {1}


def test_a_report_that_is_there_is_not_written_over_without_being_asked(
    run_import: RunImport, import_api: FakeImportApi
) -> None:
    write_books(a="One.")
    run_import("books", "--report", "report.jsonl")
    before = Path("report.jsonl").read_text()
    code, _, err = run_import("books", "--report", "report.jsonl")

    assert code == 2
    assert "go on with it by --resume" in err
    assert Path("report.jsonl").read_text() == before


@pytest.mark.parametrize("content", ["A novel.\n", "A novel.", '{"path": 1}\n', "\n\n", '{"title": "x"}\n{"path": "'])
def test_a_file_that_is_no_report_is_left_alone(run_import: RunImport, import_api: FakeImportApi, content: str) -> None:
    write_books(a="One.")
    Path("novel.txt").write_text(content)
    code, _, err = run_import("books", "--report", "novel.txt", "--resume")

    assert (code, err) == (2, "bindery: novel.txt is no report of an import: name another file by --report\n")
    assert Path("novel.txt").read_text() == content
    assert not import_api.posted


def test_a_report_that_is_not_there_yet_is_begun(run_import: RunImport) -> None:
    write_books(a="One.")
    assert run_import("books", "--report", "report.jsonl", "--resume")[0] == 0
    assert list(entries_of_report()) == ["a"]


def paths_of(out: str) -> list[str]:
    return [json.loads(line)["path"] for line in out.splitlines()]


def test_a_folder_is_searched_for_manuscripts_in_order_without_what_is_hidden(run_import: RunImport) -> None:
    for path in ("b/2.md", "b/10.TXT", "b/.3.md", ".git/4.md", "a.markdown", "cover.png", "b/notes.json", "c.text"):
        file = Path("books", path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"Text of {path}.")
    _, out, _ = run_import("books", "--jobs", "1", "--json")

    assert paths_of(out) == ["books/a.markdown", "books/b/10.TXT", "books/b/2.md", "books/c.text"]


def test_files_patterns_and_folders_may_be_named_together_and_each_file_is_taken_once(run_import: RunImport) -> None:
    write_books(a="One.", b="Two.", c="Three.")
    Path("notes.odd").write_text("A text by any other name.")
    _, out, _ = run_import("notes.odd", "./books/b.txt", "books/[ab].txt", "books", "--jobs", "1", "--json")

    assert paths_of(out) == ["notes.odd", "books/b.txt", "books/a.txt", "books/c.txt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["empty"], "there is no manuscript in this folder"),
        (["books/*.epub"], "no file matches"),
        (["books/a.txt", "-"], "standard input is one manuscript"),
        (["books", "--title", "T"], "are of one file"),
        (["books", "--book-id", "0d9c"], "are of one file"),
        (["books", "--source-id", "mine"], "--source-id names one manuscript"),
        (["books", "--resume"], "name it by --report"),
        (["books", "--report", "nowhere/report.jsonl"], "No such file"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_a_line(
    run_import: RunImport, import_api: FakeImportApi, arguments: list[str], said: str
) -> None:
    write_books(a="One.")
    Path("empty").mkdir()
    code, _, err = run_import(*arguments)

    assert (code, import_api.posted) == (2, [])
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_file_that_is_not_there_is_one_that_failed(run_import: RunImport) -> None:
    write_books(a="One.")
    code, out, _ = run_import("books/a.txt", "books/b.txt")

    assert code == 1
    assert "failed  books/b.txt: books/b.txt: No such file or directory (unreadable_file)" in out


def test_one_file_is_imported_as_ever_and_named_if_it_is_asked_for(
    run_import: RunImport, import_api: FakeImportApi
) -> None:
    write_books(a="One.")
    job = {"job_id": "book-1"}
    import_api.says += [(202, {}, {"book_id": "1", "published": True} | job)]
    code, out, _ = run_import("books/a.txt")
    assert (code, out) == (0, "book 1\njob  book-1\n")
    assert import_api.asked == {"POST /api/books/import": 1}
    for _ in range(2):
        run_import("books/a.txt", "--source-id", "mine", "--reader", "ben", "--json")
    assert [(b["source_id"], b["readers"], b.get("title")) for b in import_api.posted] == [
        ("mine", ["ben"], "A"),
        ("mine", ["ben"], None),
    ]
