"""Vectors, and what a caller must know of the model that makes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.domain.errors import ConfigError, OtherModel

MAX_DIMENSIONS = 768
"""What PostgreSQL's columns hold; fewer are filled up with zeros."""

Vector = list[float]
"""Unit length; `EmbeddingModel.dimensions` numbers."""


class EmbeddingTask(StrEnum):
    DOCUMENT = "document"
    QUERY = "query"


@dataclass(frozen=True, kw_only=True, order=True)
class ModelKey:
    """What made a vector: vectors of one key can be compared with each other, and with no others."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} (version {self.version})"


@dataclass(frozen=True, kw_only=True)
class EmbeddingModel:
    """What a caller must know to fill one request. `version` changes when the vectors would, by other dimensions too.

    `max_request_tokens` are those of `estimate_tokens`. Raises ConfigError for more than MAX_DIMENSIONS.
    """

    name: str
    version: str
    dimensions: int
    max_texts: int
    max_request_tokens: int

    def __post_init__(self) -> None:
        if self.dimensions > MAX_DIMENSIONS:
            raise ConfigError(
                f"the embedding model {self.name} has {self.dimensions} dimensions, and the database holds"
                f" {MAX_DIMENSIONS}: ask it for fewer, or take another"
            )

    @property
    def key(self) -> ModelKey:
        return ModelKey(name=self.name, version=self.version)

    def require(self, wanted: ModelKey | None) -> None:
        """Raise OtherModel unless this is the model that a version's vectors are to be of; None is any."""
        if wanted not in (None, self.key):
            raise OtherModel(f"the version is embedded by {wanted}, and this function has {self.key}")
