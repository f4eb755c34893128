"""The functions as Pub/Sub and users reach them, with real tokens: without a good one nothing is done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import functions_framework
import pytest
from werkzeug.test import Client

from infra.local.embedded_stack import FUNCTIONS
from shared import serving
from shared.adapters.google.firebase_auth import FirebaseAuthenticator
from shared.adapters.google.push_auth import OidcPushVerifier
from shared.adapters.google.tokens import CachedRequest
from shared.bootstrap import App, Overrides
from shared.domain.push_envelope import write_envelope
from shared.domain.stages import STAGES, JobType
from tests.support.tokens import ACCOUNT, OTHER_KEY, PROJECT, FakeCertificates, push_token, token, unsigned
from tests.support.world import World, manuscript

PUSHED = [s.function for s in STAGES.values()]
TABLES = ("jobs", "dead_letters", "books", "recent_chapters", "processing_status")


@pytest.fixture
def deployed(world: World) -> Iterator[World]:
    """The world's functions, with the tokens checked as in the cloud."""
    certificates = CachedRequest(FakeCertificates())
    auth: Overrides = {
        "authenticator": FirebaseAuthenticator(PROJECT, certificates),
        "push_verifier": OidcPushVerifier("https://x", ACCOUNT, certificates),
    }
    app = App(world.app.config, world.app.overrides | auth)
    serving.install(app)
    yield world
    serving.install(None)
    app.close()


def function(name: str) -> Client:
    made: Client = functions_framework.create_app(name, str(FUNCTIONS / f"{name}.py")).test_client()  # type: ignore[no-untyped-call]
    return made


def envelope(data: object) -> dict[str, Any]:
    return write_envelope(json.dumps(data).encode(), {}, message_id="1", subscription="s", delivery_attempt=1)


def everything(world: World) -> object:
    rows = {table: world.rows(f"SELECT t::text FROM {table} t ORDER BY 1") for table in TABLES}
    return rows, len(world.broker.published), len(world.live_documents.history), dict(world.embedder.calls)


BAD: dict[str, Callable[[], str | None]] = {
    "no token": lambda: None,
    "garbage": lambda: "Bearer a.b.c",
    "another account's": lambda: push_token(email="eve@my-project.iam.gserviceaccount.com"),
    "for another audience": lambda: push_token(aud="https://y"),
    "expired": lambda: push_token(iat=int(time.time()) - 7200, exp=int(time.time()) - 3600),
    "signed by another": lambda: push_token(OTHER_KEY),
    "unsigned": lambda: unsigned(aud="https://x", email=ACCOUNT, email_verified=True),
    "a user's": token,
}


def headers(authorization: str | None) -> dict[str, str]:
    return {"Authorization": authorization} if authorization else {}


@pytest.mark.parametrize("bad", BAD)
def test_no_function_does_anything_for_a_stranger(deployed: World, bad: str) -> None:
    deployed.import_book(manuscript(2))
    (job,) = deployed.rows("SELECT job_id FROM jobs")
    before = everything(deployed)
    bodies: list[dict[str, Any]] = [
        {"json": envelope({"job_id": job["job_id"]})},
        {"json": envelope({"no": "job"})},
        {"data": b"no envelope", "content_type": "application/json"},
    ]

    for name in [*PUSHED, "reconcile"]:
        client = function(name)
        for body in bodies:
            reply = client.post("/", headers=headers(BAD[bad]()), **body)
            assert reply.status_code == 401, (name, body)
            assert reply.content_type == "application/problem+json"
            assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert everything(deployed) == before


def test_pub_subs_own_token_makes_the_function_work(deployed: World) -> None:
    deployed.import_book(manuscript(2))
    message = deployed.take(JobType.BOOK_PROCESSING)
    head = headers(push_token())

    assert function("process_book").post("/", json=envelope(message.data), headers=head).status_code == 204
    assert deployed.rows("SELECT state FROM jobs WHERE type = 'book-processing'") == [{"state": "completed"}]
    assert function("reconcile").post("/", headers=head).status_code == 200


@pytest.mark.parametrize("bad", [lambda: None, push_token, unsigned, lambda: token(OTHER_KEY), lambda: token(sub="")])
def test_the_api_imports_nothing_for_a_stranger(deployed: World, bad: Callable[[], str | None]) -> None:
    before = everything(deployed)
    body = {"title": "T", "content": manuscript(1)}

    reply = function("api").post("/api/books/import", json=body, headers=headers(bad()))

    assert reply.status_code == 401
    assert everything(deployed) == before


def test_a_users_token_opens_their_books_alone(deployed: World) -> None:
    client = function("api")
    body = {"title": "T", "content": manuscript(1)}
    book_id = client.post("/api/books/import", json=body, headers=headers(token())).json["book_id"]  # type: ignore[index]

    assert client.get(f"/api/books/{book_id}/status", headers=headers(token())).status_code == 200
    assert client.get(f"/api/books/{book_id}/status", headers=headers(token(sub="eve"))).status_code == 404
