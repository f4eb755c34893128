"""The embedders of a deployment: the configured one, and those that can still be asked for the vectors of before."""

from __future__ import annotations

import threading

from shared.config import Config
from shared.domain.embeddings import ModelKey
from shared.ports import Embedder, TokenMeter


class Embedders:
    """Each is made once, when it is first asked for."""

    def __init__(self, config: Config, configured: Embedder, meter: TokenMeter) -> None:
        self._config = config
        self._meter = meter
        self._made: dict[ModelKey, Embedder | None] = {configured.model.key: configured}
        self._lock = threading.Lock()

    def __call__(self, key: ModelKey) -> Embedder | None:
        """The embedder that makes vectors of this key, or None if there is none here."""
        with self._lock:
            if key not in self._made:
                embedder = _embedder_of_before(self._config, key.name, self._meter)
                self._made[key] = embedder if embedder and embedder.model.key == key else None
            return self._made[key]


def configured_embedder(config: Config, meter: TokenMeter) -> Embedder:
    if config.models == "vertex":
        return _vertex(config, config.embedding_model, meter)
    return _fake() if config.models == "fake" else _local()


def _embedder_of_before(config: Config, name: str, meter: TokenMeter) -> Embedder | None:
    """By the name of its model. What runs without the network asks no service for the sake of old vectors."""
    from shared.adapters.local_models.embedder import NAME, is_installed

    if name == NAME:
        return _local() if is_installed() else None
    if config.models == "fake":
        return _fake()
    return _vertex(config, name, meter) if config.models == "vertex" else None


def _vertex(config: Config, model: str, meter: TokenMeter) -> Embedder:
    from shared.adapters.google.vertex_embedder import VertexEmbedder

    return VertexEmbedder(config.project, config.location, model, meter=meter)


def _fake() -> Embedder:
    from shared.adapters.fake_models import FakeEmbedder

    return FakeEmbedder()


def _local() -> Embedder:
    from shared.adapters.local_models.embedder import LocalEmbedder

    return LocalEmbedder()
