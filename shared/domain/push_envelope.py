"""The body of a push request, as Pub/Sub sends it in production: cloud.google.com/pubsub/docs/push.

Brokers of one machine and tests write it here, so that functions read the same everywhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.domain.errors import Rejected
from shared.domain.failures import storable

MAX_ID = 200


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What was published: `data` is the message's JSON object."""

    data: Mapping[str, Any]
    attributes: Mapping[str, str]

    @property
    def job_id(self) -> str:
        """The job that the message names. Raises Rejected."""
        job_id = self.data.get("job_id")
        if not is_id(job_id):
            raise Rejected("the message names no job")
        return str(job_id)


def write_envelope(
    data: bytes,
    attributes: Mapping[str, str],
    *,
    message_id: str,
    subscription: str,
    delivery_attempt: int | None,
    published: datetime | None = None,
) -> dict[str, Any]:
    """`data` is what was published; `published` says when."""
    message = {"data": base64.b64encode(data).decode(), "attributes": dict(attributes), "messageId": message_id}
    if published:
        message["publishTime"] = published.isoformat()
    return {"message": message, "subscription": subscription, "deliveryAttempt": delivery_attempt}


def read_envelope(body: Any) -> Envelope:
    """Read a parsed body. Raises Rejected for what no broker sends, or PostgreSQL can't hold."""
    try:
        message = body["message"]
        attributes = message.get("attributes") or {}
        data = json.loads(base64.b64decode(message.get("data") or "", validate=True))
        message_id = message["messageId"]
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise Rejected(f"not a push envelope: {type(error).__name__}") from None
    if not isinstance(data, dict):
        raise Rejected("the message's data is not a JSON object")
    if not isinstance(attributes, dict) or not all(map(_is_text, attributes.values())):
        raise Rejected("the message's attributes are not texts")
    if not is_id(message_id):
        raise Rejected("the message has no messageId, or one that can't be kept")
    return Envelope(data=data, attributes=attributes)


def is_id(value: Any) -> bool:
    """Whether it can be an id: a text of 1 to MAX_ID characters that PostgreSQL can hold."""
    return _is_text(value) and 0 < len(value) <= MAX_ID


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value == storable(value)
