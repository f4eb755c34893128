"""Bodies made to cost much, and pages of other sites that a browser shows on the machine of a local stack."""

from __future__ import annotations

import json
import uuid

import pytest

from shared.http.api import MAX_OPERATION_BYTES
from tests.support.world import World

ANN = {"Authorization": "Bearer ann"}


def many(count: int) -> bytes:
    return json.dumps({str(n): 0 for n in range(count)}).encode()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/books/import", many(5_000), 422),
        ("/api/books/import", b'{"title": "t", "content": "x", "z": [' + b"[]," * 500_000 + b"0]}", 400),
        ("/api/books/import", b'{"' + b'\\\\"' * 500_000, 400),
        ("/api/dead-letters/redrive", many(5_000), 422),
        ("/api/dead-letters/redrive", json.dumps({"ids": ["a"] * 5_000}).encode(), 422),
        ("/api/dead-letters/redrive", many(MAX_OPERATION_BYTES), 413),
        ("/api/dead-letters/redrive", b"[" * 50_000, 400),
        ("/api/dead-letters/discard", b'{"all": true, "x":' + b"[" * 50_000, 400),
        ("/api/replays", b'{"stage": "chapter-processing", "snapshot": "\\u0000"}', 422),
    ],
)
def test_a_hostile_body_gets_a_short_answer(world: World, path: str, body: bytes, status: int) -> None:
    head = {"Authorization": "Bearer root", "Content-Type": "application/json"}
    reply = world.http.post(path, data=body, headers=head)

    assert reply.status_code == status
    assert reply.content_type == "application/problem+json"
    assert len(reply.data) < 3_000


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "[", "Origin": "http://["},
    ],
)
def test_a_local_stack_answers_no_other_site(world: World, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/api/books"), ("POST", f"/api/books/{uuid.uuid4()}/cancel")):
        reply = world.http.open(path, method=method, headers=ANN | headers)
        assert (reply.status_code, reply.content_type) == (403, "application/problem+json")


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:80"])
def test_a_local_stack_answers_this_machine_by_any_of_its_names(world: World, host: str) -> None:
    assert world.http.get("/api/books", headers=ANN | {"Host": host, "Origin": f"http://{host}"}).status_code == 200
