"""Deployments: the same books, messages and clock, served by functions with another embedding model."""

from __future__ import annotations

from typing import Any

from shared.adapters.fake_models import FakeEmbedder
from tests.support.world import World


def with_another_embedder(world: World, *, settings: dict[str, Any] | None = None, **model: Any) -> World:
    """The world after such a deployment. `model` is what the fake embedder is; it has been asked nothing yet."""
    same: Any = {"publisher": world.broker, "clock": world.clock, "live_documents": world.live_documents}
    made = World(world.dsn, FakeEmbedder(**model), same, **(settings or {}))
    made.broker, made.clock, made.live_documents = world.broker, world.clock, world.live_documents
    return made


def forget_answers(world: World) -> None:
    """As retention does after thirty days: what the generating model is asked from now on is paid for."""
    with world.app.database.statements() as connection:
        connection.execute("DELETE FROM answers")
