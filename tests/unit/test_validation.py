"""Every way in which a field of a request can be wrong is said in plain English."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from shared import http
from shared.http.dead_letters import DiscardBody
from shared.validation import explain

MODULES = [import_module(f"{http.__name__}.{found.name}") for found in iter_modules(http.__path__)]
REQUESTS = [
    found
    for module in MODULES
    for name, found in vars(module).items()
    if re.search("(Body|Query|Path|Headers)$", name) and found.__module__ == module.__name__
]
WRONG: list[Any] = [
    *(None, "", " ", "x", "X!", "x" * 5000, "\0", "\ud800", [], [None], ["x"], [-1], list(range(1, 600)), {}, {"a": 1}),
    *(-1, 0, 1, 2**63, 10**400, "9" * 5000, 1.5, float("nan"), float("inf"), True, b"\xff", object()),
    *("2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "1e400", 10**20),
]
VENDORS_WORDS = re.compile(r"[Ii]nput|[Ss]hould|Value error|Field required|parse|instance of|\{|\bctx\b")


def wrong_requests(model: type[BaseModel]) -> Iterator[Any]:
    yield from (None, [], "x", {}, {"surprise": 1})
    names = [field.alias or name for name, field in model.model_fields.items()]
    for name in names:
        yield from ({name: value} for value in WRONG)


def test_the_models_of_requests_are_found() -> None:
    assert {"ImportBody", "ImportHeaders", "SearchQuery", "RedriveBody", "SnapshotPath", "IdentifiersQuery"} <= {
        model.__name__ for model in REQUESTS
    }


@pytest.mark.parametrize("model", REQUESTS, ids=lambda model: model.__name__)
def test_what_is_wrong_with_a_field_is_said_plainly(model: type[BaseModel]) -> None:
    said: dict[str, str] = {}
    for request in wrong_requests(model):
        try:
            model.model_validate(request)
        except ValidationError as error:
            said |= {e["type"]: explain(e) for e in error.errors(include_url=False, include_input=False)}

    assert {kind: text for kind, text in said.items() if VENDORS_WORDS.search(text)} == {}
    assert all(";" in text or kind == "value_error" for kind, text in said.items()), said


@pytest.mark.parametrize("model", REQUESTS, ids=lambda model: model.__name__)
def test_json_that_is_none_is_said_plainly(model: type[BaseModel]) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json("{")

    (error,) = caught.value.errors()
    assert explain(error).startswith("is not JSON (")


def test_an_error_without_a_sentence_is_said_in_pydantics_words() -> None:
    assert explain({"type": "new_in_a_later_release", "msg": "Input should be better"}) == "Input should be better"


def test_a_text_has_characters_and_a_list_entries() -> None:
    with pytest.raises(ValidationError) as caught:
        DiscardBody(ids=[], reason="x" * 501, fingerprint="x" * 65)
    said = {str(e["loc"][0]): explain(e) for e in caught.value.errors()}
    assert said == {
        "ids": "has too few entries; send 1 or more",
        "fingerprint": "is too long; send 64 characters at most",
        "reason": "is too long; send 500 characters at most",
    }
