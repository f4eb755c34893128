"""Errors as RFC 9457 problems: what is wrong, and what to do."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from flask import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.validation import explain

_SHOWN = 20


class Problem(BaseModel):
    """application/problem+json, RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="Kind of the problem")
    title: str = Field(description="The status in words")
    status: int = Field(description="HTTP status")
    detail: str = Field(description="What is wrong, and what to do")


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return Response(json.dumps(body), status, headers, mimetype="application/problem+json")


def invalid(error: ValidationError) -> Response:
    """422 with each field that is wrong; what the field held is not repeated."""
    found = error.errors(include_url=False, include_input=False)
    errors = [
        {"field": ".".join(str(p) for p in e["loc"]) or "body", "problem": explain(e), **_offset(e)}
        for e in found[:_SHOWN]
    ]
    detail = "; ".join(f"{e['field']}: {e['problem']}" for e in errors)
    if len(found) > _SHOWN:
        detail += f"; and {len(found) - _SHOWN} more"
    return problem(422, detail, errors=errors)


def _offset(error: Any) -> dict[str, int]:
    context = error.get("ctx") or {}
    return {"offset": context["offset"]} if "offset" in context else {}
