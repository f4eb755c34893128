"""What the API says of itself, made without a database."""

from __future__ import annotations

from functools import cache
from typing import Any

from shared.bootstrap import App
from shared.config import Config


@cache
def api_document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    config = Config(project="test", database_url="host=127.0.0.1", auth="local", models="fake")
    document: dict[str, Any] = App(config).api.test_client().get("/api/openapi.json").get_json()
    return document
