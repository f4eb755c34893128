"""How many requests a book's vectors take: what goes into each, by the limits of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from shared.domain.embeddings import EmbeddingModel
from shared.domain.packing import pack
from shared.domain.tokens import estimate_tokens

T = TypeVar("T")


def group_chapters(chapters: Iterable[tuple[T, str]], model: EmbeddingModel, requests: int = 1) -> list[list[T]]:
    """Groups of chapters, in order, whose texts fill about so many requests: each is embedded by one job."""
    most = requests * model.max_request_tokens
    return pack([(chapter, estimate_tokens(text)) for chapter, text in chapters], max_weight=most)


def fill_requests(texts: Mapping[bytes, str], model: EmbeddingModel) -> list[list[bytes]]:
    """The texts of each request, by their hashes."""
    sizes = [(digest, estimate_tokens(text)) for digest, text in texts.items()]
    return pack(sizes, max_weight=model.max_request_tokens, max_items=model.max_texts)
