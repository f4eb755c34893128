"""Vectors, and what a caller must know of the model that makes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Vector = list[float]
"""Unit length; `EmbeddingModel.dimensions` numbers."""


class EmbeddingTask(StrEnum):
    DOCUMENT = "document"
    QUERY = "query"


@dataclass(frozen=True, kw_only=True)
class EmbeddingModel:
    """What a caller must know to fill one request. `version` changes when the vectors would.

    `max_request_tokens` are those of `estimate_tokens`.
    """

    name: str
    version: str
    dimensions: int
    max_texts: int
    max_request_tokens: int
