"""Errors as RFC 9457 problems: what is wrong, and what to do."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from flask import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.http.codes import CODES, Code
from shared.validation import explain

_SHOWN = 20


class Problem(BaseModel):
    """application/problem+json, RFC 9457."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "code": "unknown_book",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "there is no such book",
                }
            ]
        },
    )

    type: str = Field("about:blank", description="The same for all: `code` is the kind of the problem")
    code: Code = Field(description="Kind of the problem, for machines: it stays what it is")
    title: str = Field(description="The status in words")
    status: int = Field(description="HTTP status")
    detail: str = Field(description="What is wrong, and what to do: for people")


def problem(
    code: Code, detail: str, headers: dict[str, str] | None = None, *, status: int | None = None, **more: Any
) -> Response:
    """The problem, with the status that its code has, unless another is named."""
    status = status or CODES[code][0]
    kind = {"type": "about:blank", "code": code, "title": HTTPStatus(status).phrase, "status": status}
    body = {**kind, "detail": detail, **more}
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
    return problem(Code.INVALID_FIELDS, detail, errors=errors)


def _offset(error: Any) -> dict[str, int]:
    context = error.get("ctx") or {}
    return {"offset": context["offset"]} if "offset" in context else {}
