"""A fake Vertex AI over real HTTP, which keeps the service's limits."""

from __future__ import annotations

import json
import math
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BOOK = {"summary": "S", "characters": [{"name": "Ann", "count": 2}], "places": [], "themes": ["sea"], "genre": "novel"}


class FakeVertex(ThreadingHTTPServer):
    """Answers predict and generateContent; `next_answers` come first, as (status, headers, body)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[dict[str, Any]] = []
        self.next_answers: list[tuple[int, dict[str, str], Any]] = []
        self.said: Any = {"content": {"parts": [{"text": json.dumps(BOOK)}]}, "finishReason": "STOP"}

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        self.requests.append(body)
        if self.next_answers:
            return self.next_answers.pop(0)
        if path.endswith(":generateContent"):
            return 200, {}, {"candidates": [self.said]}
        texts = [i["content"] for i in body["instances"]]
        tokens = [math.ceil(len(t.split()) * 1.3) for t in texts]
        if len(texts) > 250 or sum(tokens) > 20_000:
            return problem(400, "INVALID_ARGUMENT", "the request is too large")
        if not body["parameters"].get("autoTruncate", True) and max(tokens) > 2_048:
            return problem(400, "INVALID_ARGUMENT", "a text is too long")
        size = int(body["parameters"]["outputDimensionality"])
        return (
            200,
            {},
            {"predictions": [{"embeddings": {"values": [float(len(t))] + [1.0] * (size - 1)}} for t in texts]},
        )


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
