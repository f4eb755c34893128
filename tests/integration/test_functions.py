"""Each function as the buildpack starts it: FUNCTION_TARGET, FUNCTION_SOURCE, the project installed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from infra.local.processes import Command, Supervisor, free_port, is_listening
from shared.domain.push_envelope import write_envelope
from shared.domain.stages import STAGES

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"
PUSH = [s.function for s in STAGES.values()]


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor(lambda name, line: print(name, line))
    yield made
    made.close()


def start(supervisor: Supervisor, name: str, **environment: str) -> str:
    port = free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith("BINDERY_")}
    env |= {"FUNCTION_TARGET": name, "FUNCTION_SOURCE": str(FUNCTIONS / f"{name}.py"), "PORT": str(port), **environment}
    command = [sys.executable, "-m", "functions_framework", "--host=127.0.0.1"]
    supervisor.start(Command(name=name, argv=command, env=env, ready=lambda: is_listening(port), seconds=60))
    return f"http://127.0.0.1:{port}/"


def local(dsn: str) -> dict[str, str]:
    return {
        "BINDERY_PROJECT": "test",
        "BINDERY_DATABASE_URL": dsn,
        "BINDERY_AUTH": "local",
        "BINDERY_MODELS": "fake",
        "THREADS": "4",
    }


def test_there_is_a_file_for_each_function() -> None:
    assert {f.stem for f in FUNCTIONS.glob("[a-z]*.py")} == {"api", "book_events", "reconcile", *PUSH}


@pytest.mark.parametrize("name", PUSH)
def test_a_push_function_acknowledges_a_message_of_a_job_that_is_gone(
    supervisor: Supervisor, dsn: str, name: str
) -> None:
    url = start(supervisor, name, **local(dsn))
    message = json.dumps({"job_id": "chapter-none"}).encode()
    body = write_envelope(message, {}, message_id="1", subscription="s", delivery_attempt=1)

    assert requests.post(url, json=body, timeout=30).status_code == 204


@pytest.mark.parametrize("name", ["api", "book_events", "reconcile", *PUSH])
def test_a_wrong_configuration_ends_a_function_before_it_listens_and_says_all_that_is_wrong(name: str) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("BINDERY_")}
    env |= {"FUNCTION_TARGET": name, "FUNCTION_SOURCE": str(FUNCTIONS / f"{name}.py"), "PORT": str(free_port())}
    env |= {"K_SERVICE": name, "BINDERY_MODELS": "fake", "PUBSUB_EMULATOR_HOST": "127.0.0.1:1"}
    command = [sys.executable, "-m", "functions_framework", "--host=127.0.0.1"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)

    assert done.returncode != 0
    for wrong in ("BINDERY_PROJECT is not set", "DATABASE_URL", "PUSH_AUDIENCE", "MODELS=fake", "PUBSUB_EMULATOR_HOST"):
        assert wrong in done.stderr
    assert "Traceback" not in done.stderr


def test_the_api_and_reconcile_answer(supervisor: Supervisor, dsn: str, firestore_host: str) -> None:
    api = start(supervisor, "api", **local(dsn))
    reconcile = start(supervisor, "reconcile", **local(dsn), FIRESTORE_EMULATOR_HOST=firestore_host)

    assert requests.get(f"{api}api/books", timeout=30).json() == {"books": [], "totals": None, "next": None}
    assert requests.post(reconcile, timeout=30).json()["published"] == 0


def test_without_a_token_a_function_in_the_cloud_does_nothing(supervisor: Supervisor, dsn: str) -> None:
    cloud = local(dsn) | {
        "BINDERY_AUTH": "firebase",
        "BINDERY_PUSH_AUDIENCE": "a",
        "K_SERVICE": "x",
        "BINDERY_MODELS": "vertex",
    }
    cloud |= {"BINDERY_PUSH_SERVICE_ACCOUNT": "pusher@test.iam.gserviceaccount.com"}
    for name in ("api", "book_events", "process_book", "reconcile"):
        url = start(supervisor, name, **cloud)
        assert requests.post(url, json={"message": {}}, timeout=30).status_code == 401


@pytest.mark.parametrize(
    ("head", "part"),
    [("Content-Length: 1000000000", b"{"), ("Transfer-Encoding: chunked", b"7d0\r\n" + b" " * 2000 + b"\r\n")],
)
def test_a_body_over_the_limit_is_answered_before_it_is_all_there(
    supervisor: Supervisor, dsn: str, head: str, part: bytes
) -> None:
    place = urlsplit(start(supervisor, "api", BINDERY_MAX_BODY_BYTES="1000", **local(dsn)))
    start_of_request = (
        f"POST /api/books/import HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{head}\r\n\r\n"
    )

    with socket.create_connection((place.hostname, place.port), timeout=30) as client:
        client.sendall(start_of_request.encode() + part)
        assert client.recv(100).startswith(b"HTTP/1.1 413")


def test_the_api_loads_neither_a_model_library_nor_aiplatform() -> None:
    code = (
        "import sys, functions.api, shared.http.api, shared.adapters.postgres.catalogue\n"
        "heavy = {'onnxruntime', 'numpy', 'tokenizers', 'google.cloud.aiplatform', 'google.cloud.aiplatform_v1'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    env = {**os.environ, **local("postgresql://127.0.0.1/bindery")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
