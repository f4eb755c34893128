"""Telemetry leaves the process by OTLP where its variable says so, costs no request more than a moment, and is nowhere
else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import functions_framework
import google.auth
import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from infra.local.processes import Command, Supervisor, free_port, is_listening
from shared import serving
from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.live_documents import MemoryLiveDocuments
from shared.adapters.opentelemetry import exporting
from shared.adapters.opentelemetry.telemetry import OpenTelemetry
from shared.bootstrap import App
from shared.config import read_config
from shared.ports import NO_TELEMETRY
from shared.ports.metrics import JOBS
from tests.support.tracing import Collector, collecting
from tests.support.world import manuscript

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"
IMPORT = "POST /api/books/import"
RUN_A_BOOK = """
import sys
from contextlib import closing
from pathlib import Path
import requests
from infra.local.embedded_stack import EmbeddedStack
from tests.support.waiting import poll
from tests.support.world import manuscript

with (
    closing(EmbeddedStack(Path(sys.argv[1]), {"models": "fake"}, lambda name, line: None)) as stack,
    requests.Session() as session,
):
    session.trust_env = False
    book_id = session.post(f"{stack.url}/api/books/import", json={"content": manuscript(2)}).json()["book_id"]
    for _ in poll(60, "the book"):
        if session.get(f"{stack.url}/api/books/{book_id}/status").json()["status"] == "completed":
            break
    assert "bindery_jobs_total" in session.get(f"{stack.url}/metrics").text
print(*sorted(name for name in sys.modules if name.split(".")[0] == "opentelemetry"))
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting(Collector()) as made:
        yield made


def environment(dsn: str) -> dict[str, str]:
    return {"BINDERY_PROJECT": "p", "BINDERY_DATABASE_URL": dsn, "BINDERY_AUTH": "local", "BINDERY_MODELS": "fake"}


def import_books(dsn: str, url: str, books: int, flush_seconds: float) -> set[int]:
    """By the function `api`, as its server has it and where the CPU is taken away after each answer."""
    config = read_config(project="p", database_url=dsn, auth="local", models="fake")
    broker, documents = MemoryBroker(), MemoryLiveDocuments()
    telemetry = exporting.exporting_telemetry(url, "api", "p", NO_TELEMETRY, flush_seconds)
    ports: Any = {"publisher": broker, "seekable_broker": broker, "live_documents": documents, "telemetry": telemetry}
    with closing(App(config, ports)) as app:
        serving.install(app)
        try:
            client = functions_framework.create_app("api", str(FUNCTIONS / "api.py")).test_client()  # type: ignore[no-untyped-call]
            return {client.post("/api/books/import", json={"content": manuscript(1)}).status_code for _ in range(books)}
        finally:
            serving.install(None)
            telemetry.record(JOBS, 1, {"stage": "book-processing", "outcome": "completed"})


def test_what_a_request_told_has_left_when_it_is_answered_and_metrics_when_the_process_ends(
    dsn: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "bindery-of-ann")
    # It is not the background that sends them, nor the end.
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    monkeypatch.setattr("opentelemetry.sdk.trace.TracerProvider.shutdown", lambda self: None)

    assert import_books(dsn, collector.url, 1, flush_seconds=30) == {202}

    assert {IMPORT, "publish", "project"} <= collector.names()
    assert "bindery.jobs" in collector.metrics
    assert collector.services == {"bindery-of-ann"}


@pytest.mark.parametrize("answers", ["refuses", "is silent"])
def test_a_collector_that_is_away_fails_nothing(dsn: str, monkeypatch: pytest.MonkeyPatch, answers: str) -> None:
    monkeypatch.setattr("shared.adapters.opentelemetry.telemetry._CLOSE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if answers == "is silent" else free_port()

        assert import_books(dsn, f"http://127.0.0.1:{port}", 3, flush_seconds=0.1) == {202}


def test_of_many_requests_one_alone_waits_for_a_collector_that_is_away() -> None:
    back, asked = threading.Event(), list[int]()

    class Away(TracerProvider):
        def force_flush(self, timeout_millis: int = 0) -> bool:
            asked.append(timeout_millis)
            return back.wait()

    telemetry = OpenTelemetry(Away(shutdown_on_exit=False), MeterProvider(), NO_TELEMETRY, flush_seconds=0.05)
    for _ in range(3):
        telemetry.flush()
    back.set()
    telemetry.close()

    assert len(asked) == 1


def test_a_function_sends_when_it_is_stopped_and_its_logs_name_their_traces(dsn: str, collector: Collector) -> None:
    port, lines = free_port(), list[str]()
    env = {**os.environ, **environment(dsn), "BINDERY_LOG_FORMAT": "json", "PORT": str(port), "NO_PROXY": "127.0.0.1"}
    env |= {"FUNCTION_TARGET": "process_book", "FUNCTION_SOURCE": str(FUNCTIONS / "process_book.py")}
    env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
    command = [sys.executable, "-m", "functions_framework", "--host=127.0.0.1"]
    with closing(Supervisor(lambda name, line: lines.append(line))) as supervisor:
        supervisor.start(Command(name="f", argv=command, env=env, ready=lambda: is_listening(port), seconds=60))
        body = {"message": {"data": "eyJqb2JfaWQiOiAiY2hhcHRlci1ub25lIn0=", "messageId": "1"}}
        assert requests.post(f"http://127.0.0.1:{port}/", json=body, timeout=30).status_code == 204

    (stage,) = [span for span in collector.spans if span.name == "stage book-processing"]
    (logged,) = [json.loads(line) for line in lines if '"stage.claim"' in line]
    assert logged["logging.googleapis.com/trace"] == f"projects/p/traces/{stage.trace_id.hex()}"
    assert logged["logging.googleapis.com/spanId"] == stage.span_id.hex()
    assert {"stage book-processing", "claim"} <= collector.names()
    assert collector.services == {"process_book"}


@pytest.mark.parametrize("endpoint", ["", "set"])
def test_a_process_loads_opentelemetry_only_if_it_is_told_where_to_send(
    tmp_path: Path, collector: Collector, endpoint: str
) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("BINDERY_", "OTEL_"))} | {"NO_PROXY": "127.0.0.1"}
    if endpoint:
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url

    done = subprocess.run([sys.executable, "-c", RUN_A_BOOK, str(tmp_path)], capture_output=True, text=True, env=env)

    assert done.returncode == 0, done.stderr
    loaded = done.stdout.splitlines()[-1] if done.stdout.strip() else ""
    assert ("opentelemetry.sdk.trace" in loaded.split()) is bool(endpoint)
    assert bool(loaded) is bool(endpoint)
    assert ("stage book-completion" in collector.names()) is bool(endpoint)


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:4318"])
def test_what_is_configured_and_not_installed_ends_a_function_when_it_starts(endpoint: str) -> None:
    env = {**os.environ, **environment("postgresql://127.0.0.1/bindery"), "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    code = "import sys; sys.modules['opentelemetry.exporter.otlp'] = None; import functions.api"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)

    assert ("OpenTelemetry is not installed: bindery[telemetry]" in done.stderr) is bool(endpoint), done.stderr
    assert done.returncode == bool(endpoint)


def test_googles_endpoint_is_sent_a_token(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(google.auth, "default", lambda scopes: (credentials, "p"))

    session: Any = exporting.session_of("https://telemetry.googleapis.com")

    assert session.credentials is credentials
    assert exporting.session_of("https://telemetry.googleapis.com.example") is None
    assert exporting.session_of(collector.url) is None
