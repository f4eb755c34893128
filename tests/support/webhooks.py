"""What tests of webhooks share."""

from __future__ import annotations

from typing import Any

from tests.support.receiver import Receiver
from tests.support.world import World


def create_webhook(world: World, app: Receiver, user: str = "ann", **body: Any) -> Any:
    """Have the app told of the user's books; return the API's answer."""
    reply = world.call("POST", "/api/webhooks", {"url": app.url, **body}, user=user)
    assert reply.status_code == 201, reply.json
    return reply.json


def deliveries_of(world: World, webhook: Any, **query: Any) -> Any:
    return world.get(f"/api/webhooks/{webhook['webhook_id']}/deliveries", **query).json["deliveries"]
