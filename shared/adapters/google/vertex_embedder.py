"""Vectors from Vertex AI. Limits: cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

from shared.adapters.google.vertex_errors import translated
from shared.domain.embeddings import EmbeddingModel, EmbeddingTask, Vector
from shared.domain.packing import pack
from shared.domain.tokens import estimate_tokens
from shared.ports import TokenMeter

_TASKS = {EmbeddingTask.DOCUMENT: "RETRIEVAL_DOCUMENT", EmbeddingTask.QUERY: "RETRIEVAL_QUERY"}
_SECONDS = 60.0
_DIMENSIONS = 768

# The service allows 250 texts and 20,000 tokens a request; tokens are estimated here, so leave some room.
_MAX_TEXTS = 250
_MAX_REQUEST_TOKENS = 18_000


class VertexEmbedder:
    """The client is made at first use: importing it takes more than a second."""

    def __init__(
        self,
        project: str,
        location: str,
        model: str,
        dimensions: int = _DIMENSIONS,
        new_client: Callable[[], Any] | None = None,
        meter: TokenMeter | None = None,
    ) -> None:
        self._endpoint = f"projects/{project}/locations/{location}/publishers/google/models/{model}"
        self._dimensions = dimensions
        self._meter = meter
        self._model = EmbeddingModel(
            name=model,
            version="1" if dimensions == _DIMENSIONS else f"1/{dimensions}",
            dimensions=dimensions,
            max_texts=_MAX_TEXTS,
            max_request_tokens=_MAX_REQUEST_TOKENS,
        )
        self._new_client = new_client or (lambda: connect(location))
        self._lock = threading.Lock()
        self._client: Any = None

    @property
    def model(self) -> EmbeddingModel:
        return self._model

    def embed(self, texts: Sequence[str], task: EmbeddingTask) -> list[Vector]:
        """Embed in as many requests as the limits ask for. Raises Rejected for text that is too long: none is cut."""
        sizes = [(text, estimate_tokens(text)) for text in texts]
        groups = pack(sizes, max_weight=_MAX_REQUEST_TOKENS, max_items=_MAX_TEXTS)
        return [vector for group in groups for vector in self._request(group, task)]

    def _request(self, texts: Sequence[str], task: EmbeddingTask) -> list[Vector]:
        instances = [{"content": text, "task_type": _TASKS[task]} for text in texts]
        parameters = {"autoTruncate": False, "outputDimensionality": self._dimensions}
        client = self._connected()
        with translated():
            reply = client.predict(
                endpoint=self._endpoint,
                instances=[_value(i) for i in instances],
                parameters=_value(parameters),
                timeout=_SECONDS,
            )
        if self._meter:
            counted = (p["embeddings"].get("statistics", {}).get("token_count", 0) for p in reply.predictions)
            self._meter(self._model.name, read=int(sum(counted)))
        vectors = [list(p["embeddings"]["values"]) for p in reply.predictions]
        if len(vectors) != len(texts):
            raise RuntimeError(f"Vertex AI returned {len(vectors)} vectors for {len(texts)} texts")
        return [_unit(v) for v in vectors]

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client


def connect(location: str) -> Any:
    from google.cloud import aiplatform_v1

    return aiplatform_v1.PredictionServiceClient(
        client_options={"api_endpoint": f"{location}-aiplatform.googleapis.com"}
    )


def _value(plain: dict[str, Any]) -> Any:
    from google.protobuf import json_format
    from google.protobuf.struct_pb2 import Value

    return json_format.ParseDict(plain, Value())


def _unit(vector: Vector) -> Vector:
    length = math.hypot(*vector) or 1.0
    return [x / length for x in vector]
