"""The API keeps to its own OpenAPI document: requests made from it, good and bad, get only answers that it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.api_document import api_document
from tests.support.world import World, manuscript

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    allow_header_conformance,
]
ANN = {"Authorization": "Bearer ann"}

# The same requests at every run: a red build can be repeated.
same = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def operations() -> list[str]:
    """As the document lists them."""
    paths = api_document()["paths"]
    return [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]


Case = schemathesis.Case[Any]
each_operation = pytest.mark.parametrize("operation", operations())


@pytest.fixture(scope="module")
def book_id(lasting_world: World) -> str:
    """A finished book, which the requests may hit."""
    made = lasting_world.import_book(manuscript(3))
    lasting_world.run()
    return made


@pytest.fixture(scope="module")
def document(lasting_world: World, book_id: str) -> Any:
    return schemathesis.openapi.from_wsgi("/api/openapi.json", lasting_world.app.api, headers=ANN)


def send_many(document: Any, operation: str, send: Callable[[Case], Any], examples: int) -> None:
    """Requests that fit the document, and as many that do not."""
    method, path = operation.split(" ")
    for mode in GenerationMode:

        @settings(same, max_examples=examples)
        @given(document[path][method].as_strategy(generation_mode=mode))
        def send_one(case: Case) -> None:
            send(case)

        send_one()


@pytest.mark.parametrize("user", ["ann", "root"])
@each_operation
def test_nobody_gets_an_answer_that_the_document_does_not_name(document: Any, operation: str, user: str) -> None:
    headers = {"Authorization": f"Bearer {user}"}
    send_many(document, operation, lambda case: case.call_and_validate(headers=headers, checks=CHECKS), 20)


@each_operation
def test_the_owner_of_a_book_gets_no_answer_that_the_document_does_not_name(
    document: Any, operation: str, book_id: str
) -> None:
    ids = {"book_id": book_id, "job_id": f"book-{book_id}-v1"}

    def send(case: Case) -> None:
        case.path_parameters.update({k: v for k, v in ids.items() if k in case.path_parameters})
        case.call_and_validate(headers=ANN, checks=CHECKS)

    send_many(document, operation, send, 15)


@each_operation
def test_a_stranger_gets_no_answer_but_the_one_that_the_document_names(document: Any, operation: str) -> None:
    def send(case: Case) -> None:
        case.headers.pop("Authorization", None)
        assert case.call_and_validate(checks=CHECKS).status_code == 401

    send_many(document, operation, send, 5)
