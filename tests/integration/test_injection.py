"""What users write stays text: in logs, in SQL, in full-text queries, and in answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.bootstrap import App
from shared.domain.errors import Rejected
from shared.domain.identity import Caller
from shared.domain.stages import STAGES
from tests.support.world import World, manuscript

# A word that is nowhere else, so that it is found wherever it leaks to.
MARK = "Zzyzx"
HOSTILE = {
    "a line feed": f"{MARK}\n",
    "a forged line": f'{MARK}\n{{"severity": "CRITICAL", "message": "forged"}}',
    "a carriage return": f"{MARK}\r\nSet-Cookie: a=b",
    "colours": f"\x1b[31m{MARK}\x1b[0m\x1b]0;{MARK}\x07",
    "a backspace": f"{MARK}\b\b\b",
    "JSON": f'{MARK}", "severity": "CRITICAL", "x": "',
    "a tag": f"<script>alert('{MARK}')</script>",
    "an entity": f"&lt;img src=x onerror={MARK}&gt;",
    "the end of a statement": f"'; DROP TABLE books; -- {MARK}",
    "a comment": f"{MARK}' OR 1=1 /*",
    "a placeholder": f"%s %(owner)s {{}} {{0}} $1 :id ? {MARK}",
    "a template": f"{{{{ config }}}} ${{{MARK}}} #{{{MARK}}}",
    "a log4j lookup": f"${{jndi:ldap://{MARK}}}",
    "right to left": f"\u202e{MARK}\u2028\u2029\x85",
    "a path": f"../../{MARK}/..%2f",
}
each = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
TSQUERY = [
    *"'&|!:*()<>\\\"%_-+~?.,;/@#$^=[]{}`",
    *("a & b", "a | b", "!a", "a <-> b", "a <2> b", "a:*", "a:ABCD", "'a", "a''b", "((", "))", "()", "& &", "|", "!!", "<->"),
    *("\\'", "a\\", "'a' & 'b'", "''", "':*", "a&|b", "&a", "a!", "AT&T", "http://x.example/?a=1&b='2'|3", "-a", "--a"),
    *("the", "of the and", "a" * 1_000, "' " * 500, "\x01\x02\x1f", "\u202e", "\ufeff", "\u200b", "é́́", "👩‍👩‍👧", "שלום", "日本語"),
    *("NULL", "true", "1e400", "NaN", "/* */", "-- x", "$$", "$1", "%s", "%(text)s", "{0}", "E'\\x41'", "U&'\\0041'"),
]  # fmt: skip


@pytest.fixture(scope="module")
def library(lasting_world: World) -> World:
    """With a finished book that a search finds."""
    lasting_world.import_book(manuscript(3))
    lasting_world.run()
    return lasting_world


def events(logs: StringIO) -> list[dict[str, Any]]:
    """Each line is one event, and nothing a terminal would obey."""
    lines = logs.getvalue().split("\n")[:-1]
    assert all(character >= " " for line in lines for character in line)
    return [json.loads(line) for line in lines]


@each
def test_a_title_comes_back_as_it_was_and_is_never_logged(library: World, logs: StringIO, text: str) -> None:
    book_id = library.import_book(manuscript(1).replace("CHAPTER 1", f"CHAPTER 1\n\n{MARK}"), title=text)
    library.run()
    library.app.reconcile()

    reply = library.get(f"/api/books/{book_id}")
    assert reply.json["title"] == text
    assert reply.content_type == "application/json"
    assert library.status(book_id)["status"] == "completed"
    assert {"book.imported", "stage.done"} <= {e["message"] for e in events(logs)}
    assert MARK not in logs.getvalue()


@each
def test_a_source_a_key_and_a_query_are_never_logged(library: World, logs: StringIO, text: str) -> None:
    body = {"title": "T", "content": manuscript(1), "google_doc_id": text}
    one_line = "".join(c for c in text if c.isprintable() and c < "\x7f")
    replies = [library.post(body, Idempotency_Key=f"{uuid4()} {one_line}") for _ in range(2)]
    library.run()

    assert [r.status_code for r in replies] == [202, 202]
    assert replies[0].json["book_id"] == replies[1].json["book_id"]
    assert library.get("/api/search", q=text).status_code == 200
    assert library.get(f"/api/jobs/{one_line}").status_code == 404
    assert events(logs)
    assert MARK not in logs.getvalue()


@each
def test_what_a_model_refuses_is_not_logged_with_its_text(library: World, logs: StringIO, text: str) -> None:
    def refuse(of: str | Sequence[str]) -> None:
        raise Rejected("the model refuses this text")

    library.extractor.before = library.embedder.before = refuse
    try:
        book_id = library.import_book(f"CHAPTER 1\n\n{text}", title=text)
        library.run()
    finally:
        library.extractor.before = library.embedder.before = None

    assert library.status(book_id)["status"] == "failed"
    assert "stage.failed" in {e["message"] for e in events(logs)}
    assert MARK not in logs.getvalue()


@each
def test_a_message_cannot_forge_a_line_of_the_log(library: World, logs: StringIO, text: str) -> None:
    data = base64.b64encode(json.dumps({"job_id": text}).encode()).decode()
    attributes = {"CloudPubSubDeadLetterSourceSubscription": text}
    for topic in STAGES:
        envelope = {"message": {"data": data, "attributes": attributes, "messageId": text}}
        assert library.push(topic, envelope).status_code == 204

    assert len(events(logs)) >= len(STAGES), "each push leaves a line"
    assert "forged" not in {e["message"] for e in events(logs)}
    assert {e["severity"] for e in events(logs)} <= {"INFO", "ERROR"}


@each
def test_a_path_cannot_forge_a_line_of_the_log(library: World, logs: StringIO, text: str) -> None:
    class FailingAuthenticator:
        def authenticate(self, authorization: str | None) -> Caller:
            raise RuntimeError("boom")

    client = App(
        library.app.config, {**library.app.overrides, "authenticator": FailingAuthenticator()}
    ).api.test_client()

    assert client.get(f"/api/jobs/{text}").status_code == 500
    (event,) = events(logs)
    assert event["message"] == "api.unexpected"


@each
def test_what_is_wrong_is_said_without_what_was_sent(library: World, text: str) -> None:
    bodies: list[dict[str, object]] = [{"title": "T", "content": text, "book_id": text}, {"title": [text]}]
    for body in bodies:
        reply = library.post(body)
        assert reply.status_code == 422
        assert reply.content_type == "application/problem+json"
        assert MARK not in reply.text
    assert MARK not in library.get("/api/books", after=text, limit=text).text
    assert MARK not in library.get(f"/nothing/{text}").text


def test_every_table_outlives_all_that(library: World) -> None:
    owners = library.rows("SELECT DISTINCT owner_uid FROM books")

    assert owners == [{"owner_uid": "ann"}]


@pytest.mark.parametrize("query", TSQUERY)
def test_no_search_term_is_read_as_a_language(library: World, query: str) -> None:
    reply = library.get("/api/search", q=query)

    assert reply.status_code == 200
    assert reply.json["query"] == query


terms = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60)
signs = st.text("'&|!:*()<->\\ \"ab1%@./", min_size=1, max_size=30)


@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(terms | signs | st.lists(st.sampled_from(TSQUERY), min_size=1, max_size=4).map(" ".join))
def test_any_search_term_is_answered(library: World, query: str) -> None:
    assert library.get("/api/search", q=query[:1_000]).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/jobs/%00", 422),
        ("/api/jobs/a%00b", 422),
        ("/api/books/%00", 422),
        ("/api/search?q=%00", 422),
        ("/api/%00", 404),
    ],
)
def test_a_nul_is_no_servers_error(library: World, path: str, status: int) -> None:
    assert library.get(path).status_code == status


def test_a_nul_in_a_key_is_no_servers_error(library: World) -> None:
    environ = {"HTTP_IDEMPOTENCY_KEY": "a\0b", "HTTP_AUTHORIZATION": "Bearer ann"}
    body = {"title": "T", "content": "One."}

    assert library.http.post("/api/books/import", json=body, environ_overrides=environ).status_code == 422
