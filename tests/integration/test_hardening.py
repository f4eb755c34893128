"""Every answer's headers, the limits of bodies, and that nobody learns what others have."""

from __future__ import annotations

import io
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from werkzeug.datastructures import Headers
from werkzeug.test import Client, EnvironBuilder
from werkzeug.wrappers import Response

from infra.local.embedded_stack import FUNCTIONS
from shared import serving
from shared.bootstrap import App
from shared.domain.errors import Unauthenticated
from shared.domain.identity import Caller
from shared.domain.stages import STAGES
from shared.http.push import MAX_PUSH_BYTES
from tests.support.api_document import api_document
from tests.support.world import World, manuscript

ANN, BEN = {"Authorization": "Bearer ann"}, {"Authorization": "Bearer ben"}
LIMIT = 100_000
EXPECTED = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
}


@pytest.fixture(scope="module")
def deployed(lasting_world: World) -> Iterator[World]:
    """The world behind its functions, with a small limit for bodies, and a finished book of Ann's."""
    world = lasting_world
    app = App(world.app.config.model_copy(update={"max_body_bytes": LIMIT}), world.app.overrides)
    serving.install(app)
    world.import_book(manuscript(2), google_doc_id="ann's")
    world.run()
    yield world
    serving.install(None)
    app.close()


def served(name: str) -> Any:
    return functions_framework.create_app(name, str(FUNCTIONS / f"{name}.py"))  # type: ignore[no-untyped-call]


def function(name: str) -> Client:
    made: Client = served(name).test_client()
    return made


def is_secured(reply: Any) -> bool:
    return all(reply.headers.getlist(name) == [value] for name, value in EXPECTED.items())


@pytest.mark.parametrize(
    ("status", "method", "path", "more"),
    [
        (200, "GET", "/api/books", {}),
        (200, "GET", "/api/openapi.json", {}),
        (202, "POST", "/api/books/import", {"json": {"title": "T", "content": "One."}}),
        (400, "POST", "/api/books/import", {"data": b"{", "content_type": "application/json"}),
        (401, "GET", "/api/books", {"headers": {}}),
        (404, "GET", f"/api/books/{uuid.UUID(int=404)}", {}),
        (404, "GET", "/nothing/<script>", {}),
        (405, "PUT", "/api/books", {}),
        (413, "POST", "/api/books/import", {"data": b"x" * (LIMIT + 1), "content_type": "application/json"}),
        (415, "POST", "/api/books/import", {"data": b"{}", "content_type": "text/plain"}),
        (422, "POST", "/api/books/import", {"json": {}}),
        (422, "GET", "/api/search", {}),
    ],
)
def test_every_answer_of_the_api_is_hardened(
    deployed: World, status: int, method: str, path: str, more: dict[str, Any]
) -> None:
    reply = function("api").open(path, method=method, **({"headers": ANN} | more))

    assert reply.status_code == status
    assert is_secured(reply)
    assert reply.content_type == ("application/json" if status < 300 else "application/problem+json")


def test_an_answer_to_what_nobody_expected_is_hardened_and_says_nothing(deployed: World) -> None:
    class FailingAuthenticator:
        def authenticate(self, authorization: str | None) -> Caller:
            raise RuntimeError("the secret is 42")

    reply = (
        App(deployed.app.config, {**deployed.app.overrides, "authenticator": FailingAuthenticator()})
        .api.test_client()
        .get("/")
    )

    assert reply.status_code == 500
    assert is_secured(reply)
    assert "42" not in reply.text


@pytest.mark.parametrize("name", [*(s.function for s in STAGES.values()), "reconcile"])
def test_every_answer_of_the_other_functions_is_hardened(deployed: World, name: str) -> None:
    reply = function(name).post("/", data=b"no envelope")

    assert reply.status_code == (200 if name == "reconcile" else 204)
    assert is_secured(reply)


class Body(io.RawIOBase):
    """Has as many bytes as anyone reads, and counts them."""

    def __init__(self, most: int = 1 << 40, start: bytes = b"") -> None:
        self.left, self.start, self.taken = most, start, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self.left)
        part = (self.start[self.taken : self.taken + count]).ljust(count, b" ")
        buffer[:count] = part
        self.left -= count
        self.taken += count
        return count


def send(name: str, body: Body, length: int | None, path: str = "/", **headers: str) -> Response:
    """A declared length, or else chunks whose end the server knows, as gunicorn does."""
    environ = EnvironBuilder(
        path, method="POST", headers=Headers(headers), content_type="application/json"
    ).get_environ()
    environ |= {"wsgi.input": body}
    if length is None:
        environ.pop("CONTENT_LENGTH", None)
        environ |= {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    else:
        environ["CONTENT_LENGTH"] = str(length)
    return Response.from_app(served(name), environ, buffered=True)


POSTED = [
    ("api", "/api/books/import", LIMIT),
    ("process_book", "/", MAX_PUSH_BYTES),
    ("record_dead_letter", "/", MAX_PUSH_BYTES),
]


@pytest.mark.parametrize(("name", "path", "limit"), POSTED)
def test_a_declared_length_over_the_limit_is_refused_unread(deployed: World, name: str, path: str, limit: int) -> None:
    body = Body()

    assert send(name, body, limit + 1, path, **ANN).status_code == 413
    assert body.taken == 0


@pytest.mark.parametrize(("name", "path", "limit"), POSTED)
def test_a_body_in_chunks_is_read_no_further_than_the_limit(deployed: World, name: str, path: str, limit: int) -> None:
    body = Body()

    assert send(name, body, None, path, **ANN).status_code == 413
    assert body.taken == limit + 1


@pytest.mark.parametrize("length", [LIMIT, None])
def test_nothing_is_read_of_a_strangers_body(deployed: World, length: int | None) -> None:
    body = Body(LIMIT)

    assert send("api", body, length, "/api/books/import").status_code == 401
    assert body.taken == 0


@pytest.mark.parametrize("length", [LIMIT, 10 * MAX_PUSH_BYTES, None])
def test_reconcile_reads_no_body(deployed: World, length: int | None) -> None:
    body = Body()

    assert send("reconcile", body, length).status_code == 200
    assert body.taken == 0


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
def test_the_limit_itself_is_allowed_in_chunks(deployed: World, size: int) -> None:
    start = json.dumps({"title": "T", "content": "In chunks."}).encode()

    reply = send("api", Body(size, start), None, "/api/books/import", **ANN)

    assert reply.status_code == (202 if size == LIMIT else 413)


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Those that take the id of a book or a job: in the path, in the query or in the body."""
    document = api_document()
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names = {p["name"] for p in operation.get("parameters", [])} | set(properties(document, operation))
            if names & {"book_id", "job_id"}:
                found.append((method.upper(), path, operation))
    return found


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        target: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    return schema


def properties(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    schema = resolved(document, content.get("application/json", {}).get("schema", {}))
    return dict(schema.get("properties", {})) if content else {}


def least(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """The smallest value that a schema allows."""
    schema = resolved(document, schema)
    if "anyOf" in schema or "oneOf" in schema or "allOf" in schema:
        return least(document, (schema.get("anyOf") or schema.get("oneOf") or schema["allOf"])[0])
    if "const" in schema or "enum" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    match schema.get("type"):
        case "object":
            known = schema.get("properties", {})
            return {name: least(document, known[name]) for name in schema.get("required", [])}
        case "array":
            return [least(document, schema["items"])] * schema.get("minItems", 0)
        case "string":
            return str(uuid.UUID(int=1)) if schema.get("format") == "uuid" else "x" * schema.get("minLength", 1)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
    return None


def told(answer: Any) -> Any:
    """The body, without the ids of what was asked."""
    return {k: v for k, v in answer.json.items() if k != "batch_id"}


def ask(
    world: World, method: str, path: str, operation: dict[str, Any], ids: dict[str, str], user: dict[str, str] = BEN
) -> Any:
    """With all that is required, and these ids wherever the operation takes one."""
    document = api_document()
    query = {
        p["name"]: ids.get(p["name"]) or least(document, p.get("schema", {}))
        for p in operation.get("parameters", [])
        if p["in"] == "query" and (p.get("required") or p["name"] in ids)
    }
    body = None
    if "requestBody" in operation:
        body = least(document, operation["requestBody"]["content"]["application/json"]["schema"])
        body |= {name: value for name, value in ids.items() if name in properties(document, operation)}
    return world.http.open(
        path.format(**ids | {"number": "1"}), method=method, query_string=query, json=body, headers=user
    )


# What names no book in its path may answer that nothing was found, or that it is for administrators.
SAID_OF_NOTHING = {
    **dict.fromkeys(("/api/dead-letters", "/api/dead-letters/groups", "/api/jobs"), 200),
    **dict.fromkeys(("/api/dead-letters/redrive", "/api/dead-letters/discard"), 200),
    **dict.fromkeys(("/api/replays", "/api/projections"), 403),
    **dict.fromkeys(("/api/reembeddings", "/api/reembeddings/estimate"), 403),
}


@pytest.mark.parametrize(("method", "path", "operation"), [pytest.param(*o, id=f"{o[0]} {o[1]}") for o in operations()])
def test_what_is_anothers_looks_exactly_like_what_is_not_there(
    deployed: World, method: str, path: str, operation: dict[str, Any]
) -> None:
    book_id, unknown = (
        str(deployed.rows("SELECT book_id FROM books WHERE google_doc_id = 'ann''s'")[0]["book_id"]),
        uuid.uuid4(),
    )
    jobs = [r["job_id"] for r in deployed.rows("SELECT job_id FROM jobs WHERE book_id = %s", book_id)]
    assert len(jobs) > 4
    before = deployed.rows("SELECT books::text, jobs::text FROM books JOIN jobs USING (book_id) ORDER BY 1, 2")

    nothing = ask(deployed, method, path, operation, {"book_id": str(unknown), "job_id": f"book-{unknown}-v1"})
    answers = [ask(deployed, method, path, operation, {"book_id": book_id, "job_id": job}) for job in jobs]

    assert nothing.status_code == SAID_OF_NOTHING.get(path, 404), nothing.text
    for answer in answers:
        assert (answer.status_code, told(answer), answer.headers) == (
            nothing.status_code,
            told(nothing),
            nothing.headers,
        )
    assert deployed.rows("SELECT books::text, jobs::text FROM books JOIN jobs USING (book_id) ORDER BY 1, 2") == before
    if method == "GET" and nothing.status_code == 404:
        mine = ask(deployed, method, path, operation, {"book_id": book_id, "job_id": jobs[0]}, ANN)
        assert mine.status_code == 200, "it is there"


def test_a_page_after_anothers_book_is_that_after_no_book(deployed: World) -> None:
    deployed.clock.advance(-60)
    deployed.post({"title": "Older", "content": "Once."}, user="ben")
    deployed.clock.advance(60)
    theirs = deployed.rows("SELECT book_id FROM books WHERE google_doc_id = 'ann''s'")[0]["book_id"]

    assert (
        deployed.get("/api/books", user="ben", after=theirs).data
        == deployed.get("/api/books", user="ben", after=uuid.uuid4()).data
    )


def test_every_function_is_served_by_what_hardens() -> None:
    files = list(Path(FUNCTIONS).glob("[a-z]*.py"))
    assert {file.stem for file in files} == {"api", "book_events", "reconcile", *(s.function for s in STAGES.values())}
    for file in files:
        assert re.search(
            r"from shared.serving import check_configuration, serve_\w+\n\ncheck_configuration\(\)\n", file.read_text()
        )


def test_a_stranger_is_refused_with_the_same_words_whoever_they_claim_to_be(deployed: World) -> None:
    class RefusingAuthenticator:
        def authenticate(self, authorization: str | None) -> Caller:
            raise Unauthenticated("the token is not valid here; get a new one")

    client = App(
        deployed.app.config, {**deployed.app.overrides, "authenticator": RefusingAuthenticator()}
    ).api.test_client()
    answers = {client.get(path, headers=BEN).data for path in ("/api/books", "/api/jobs/x", "/nothing")}

    assert len(answers) == 1
