"""`bindery import` of many files, against an API that answers what the test says."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from infra.cli.bulk_view import BulkProgress
from infra.cli.import_report import Entry, Outcome
from tests.support.fake_import_api import (
    NOTHING_FAILED,
    FakeImportApi,
    RunImport,
    entries_of_report,
    problem,
    write_books,
)


def test_each_file_has_a_line_in_the_report_and_the_summary_counts_them(
    run_import: RunImport, import_api: FakeImportApi
) -> None:
    write_books(a="One.", b="Two.", c="One.", d=" ")
    code, out, err = run_import("books", "--report", "report.jsonl", "--reader", "ben", "--reader", "cid")

    assert (code, err) == (1, "")
    told = entries_of_report()
    assert {name: e["outcome"] for name, e in told.items()} == {
        "a": "completed",
        "b": "completed",
        "c": "skipped",
        "d": "rejected",
    }
    assert list(told["a"])[:8] == ["path", "source_id", "book_id", "version", "outcome", "chapters", "error", "seconds"]
    assert (told["a"]["path"], told["a"]["version"], told["a"]["chapters"]) == ("books/a.txt", 1, NOTHING_FAILED)
    assert told["a"]["source_id"] == f"sha256:{told['a']['sha256']}"
    assert (told["c"]["duplicate_of"], told["c"]["book_id"]) == ("books/a.txt", told["a"]["book_id"])
    assert told["d"]["error"]["code"] == "empty_manuscript"
    assert [body["readers"] for body in import_api.posted] == [["ben", "cid"]] * 2
    assert "skipped  books/c.txt: duplicate of books/a.txt\n" in out
    assert "4 files: 2 completed, 1 skipped, 1 rejected\n" in out
    assert out.endswith(
        ": there is nothing to split into chapters (empty_manuscript)\n    mend the file, or leave it out\n"
    )


def test_all_that_went_well_ends_with_0_and_a_second_run_changes_nothing(
    run_import: RunImport, import_api: FakeImportApi
) -> None:
    write_books(a="One.", b="Two.")
    assert run_import("books", "--jobs", "1")[0] == 0
    code, out, _ = run_import("books")

    assert (code, out.splitlines()[-1]) == (0, "2 files: 2 unchanged")
    assert {b["version"] for b in import_api.books.values()} == {1}
    assert [body.get("title") for body in import_api.posted] == ["A", "B", None, None], (
        "a book keeps the title that it has"
    )


def test_no_more_books_are_under_way_than_was_asked_for(run_import: RunImport, import_api: FakeImportApi) -> None:
    import_api.asks = 4
    write_books(**{f"b{n:02}": f"Text {n}." for n in range(24)})

    assert run_import("books", "--jobs", "3")[0] == 0
    assert (len(import_api.books), import_api.most) == (24, 3)


def test_with_json_each_file_is_a_line_on_standard_output(run_import: RunImport) -> None:
    write_books(a="One.", b=" ")
    code, out, err = run_import("books", "--json")

    assert code == 1
    assert sorted(json.loads(line)["outcome"] for line in out.splitlines()) == ["completed", "rejected"]
    assert err.startswith("2 files: 1 completed, 1 rejected\n")


def test_an_api_that_is_busy_is_asked_again(run_import: RunImport, import_api: FakeImportApi) -> None:
    import_api.says += [problem(429, "too_many_books", Retry_After="0"), problem(503, "unavailable", Retry_After="0")]
    write_books(a="One.")
    code, out, _ = run_import("books")

    assert (code, import_api.says, len(import_api.posted)) == (0, [], 1)
    assert "the API asks to wait 0 s; trying again\n" in out


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (problem(413, "body_too_large"), "rejected"),
        (problem(422, "invalid_fields"), "rejected"),
        (problem(500, "unexpected"), "failed"),
    ],
)
def test_a_refusal_of_one_file_stops_no_other(
    run_import: RunImport, import_api: FakeImportApi, answer: Any, outcome: str
) -> None:
    import_api.says.append(answer)
    write_books(a="One.", b="Two.")
    code, out, _ = run_import("books", "--jobs", "1", "--report", "report.jsonl")

    assert code == 1
    told = entries_of_report()
    assert (told["a"]["outcome"], told["b"]["outcome"]) == (outcome, "completed")
    assert told["a"]["error"] == {"code": answer[2]["code"], "message": answer[2]["detail"]}
    assert f"books/a.txt: {answer[2]['detail']} ({answer[2]['code']})\n" in out


def test_a_token_that_is_not_valid_any_more_ends_all_and_the_next_run_goes_on(
    run_import: RunImport, import_api: FakeImportApi
) -> None:
    write_books(a="One.", b="Two.", c="Three.")
    given = ("books", "--jobs", "1", "--report", "report.jsonl", "--token", "secret")
    import_api.says += [problem(500, "unexpected"), problem(401, "unauthenticated")]
    code, _, err = run_import(*given)

    assert code == 1
    assert "stopped: 1 of 3 files have ended" in err
    assert "  bindery import books --jobs 1 --report report.jsonl --token … --resume\n" in err.replace("'", "")
    assert err.endswith("bindery: said of unauthenticated\n")
    assert "secret" not in err
    assert [e["outcome"] for e in entries_of_report().values()] == ["failed"]
    assert run_import(*given, "--resume")[0] == 0
    assert [e["outcome"] for e in entries_of_report().values()] == ["completed"] * 3


def test_an_api_that_is_not_there_is_said_before_anything_else(run_import: RunImport) -> None:
    write_books(a="One.")
    code, _, err = run_import("books", "--report", "report.jsonl", "--url", "http://127.0.0.1:1")

    assert (code, err) == (3, "bindery: can't reach http://127.0.0.1:1: nobody answers there\n")
    assert not Path("report.jsonl").exists()


@pytest.mark.parametrize(
    ("end", "outcome", "said"),
    [
        (
            {"status": "completed", "chapters": NOTHING_FAILED | {"total": 9, "failed": 2}},
            "completed_with_failures",
            "2 of 9",
        ),
        (
            {"status": "failed", "error": {"code": "rejected", "message": "change the text"}},
            "failed",
            "change the text (rejected)",
        ),
        ({"status": "cancelled"}, "cancelled", "the book is cancelled"),
    ],
)
def test_a_book_that_is_not_whole_is_told_with_what_to_do_and_resumed(
    run_import: RunImport, import_api: FakeImportApi, end: Any, outcome: str, said: str
) -> None:
    import_api.ends["A"] = end
    write_books(a="One.")
    code, out, _ = run_import("books", "--report", "report.jsonl")
    (entry,) = entries_of_report().values()

    assert (code, entry["outcome"]) == (1, outcome)
    assert f"{outcome.replace('_', ' ')}  books/a.txt: {said}" in out
    verb = "resume" if outcome == "cancelled" else "retry"
    assert f"    bindery {verb} {entry['book_id']}\n" in out
    import_api.ends.clear()
    import_api.books[entry["source_id"]] |= {"status": "completed", "chapters": NOTHING_FAILED, "error": None}
    assert run_import("books", "--report", "report.jsonl", "--resume")[0] == 0
    assert [e["outcome"] for e in entries_of_report().values()] == ["unchanged"]


def test_files_that_changed_are_imported_anew_and_those_that_are_done_are_not_asked_about(
    run_import: RunImport, import_api: FakeImportApi
) -> None:
    write_books(a="One.", b="Two.")
    given = ("books", "--report", "report.jsonl", "--source-id", "mine/{name}")
    assert run_import(*given)[0] == 0
    write_books(b="Two, and more.", c="Three.")
    import_api.posted.clear()

    assert run_import(*given, "--resume")[0] == 0
    assert sorted((body["source_id"], body["content"]) for body in import_api.posted) == [
        ("mine/b", "Two, and more."),
        ("mine/c", "Three."),
    ]
    assert {name: e["version"] for name, e in entries_of_report().items()} == {"a": 1, "b": 2, "c": 1}


def test_two_texts_that_would_have_one_name_are_not_versions_of_one_book(
    run_import: RunImport, import_api: FakeImportApi
) -> None:
    write_books(a="One.")
    Path("books/old").mkdir()
    Path("books/old/a.txt").write_text("Older.")
    code, out, _ = run_import("books", "--source-id", "{name}", "--json")

    assert code == 1
    told = [json.loads(line) for line in out.splitlines()]
    assert sorted((e["path"], (e["error"] or {}).get("code")) for e in told) == [
        ("books/a.txt", None),
        ("books/old/a.txt", "source_id_taken"),
    ]


def test_forced_imports_that_are_sent_again_pay_once(run_import: RunImport, import_api: FakeImportApi) -> None:
    write_books(a="One.", b="Two.")
    run_import("books")
    import_api.keys.clear()
    code, out, _ = run_import("books", "--force")

    assert (code, out.splitlines()[-1]) == (0, "2 files: 2 completed")
    assert len({key for key in import_api.keys if key}) == 2


def test_a_terminal_shows_a_bar_with_counts_and_only_what_went_wrong_by_name() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=120, color_system=None)
    with BulkProgress(console, 3) as progress:
        progress.show(Entry(path="a.txt", outcome=Outcome.COMPLETED))
        progress.note("the API asks to wait 5 s; trying again")
        progress.note("the API asks to wait 5 s; trying again")
        error = {"code": "not_text", "message": "it is an [image]"}
        progress.show(Entry(path="[b].txt", outcome=Outcome.REJECTED, error=error))
    shown = console.file.getvalue()  # type: ignore[attr-defined]

    assert "2/3 1 completed, 1 rejected" in shown
    assert "rejected  [b].txt: it is an [image] (not_text)" in shown
    assert "a.txt" not in shown.replace("[b].txt", "")
    assert shown.count("trying again") == 1
