"""What the API says of itself, made without a database; and a way to make APIs quickly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from typing import Any

from flask_openapi import openapi, utils

from shared.bootstrap import App
from shared.config import Config


@cache
def api_document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    config = Config(project="test", database_url="host=127.0.0.1", auth="local", models="fake")
    document: dict[str, Any] = App(config).api.test_client().get("/api/openapi.json").get_json()
    return document


@contextmanager
def schemas_made_once() -> Iterator[None]:
    """Describe each body and reply once for all APIs until the end of the block: it is most of the making of one."""
    known: dict[tuple[Any, ...], dict[str, Any]] = {}
    make = utils.get_model_schema

    def remembered(*model: Any, **how: Any) -> dict[str, Any]:
        key = (*model, *how.items())
        if key not in known:
            known[key] = make(*model, **how)
        return deepcopy(known[key])

    for module in (utils, openapi):
        module.get_model_schema = remembered  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in (utils, openapi):
            module.get_model_schema = make  # type: ignore[attr-defined]
