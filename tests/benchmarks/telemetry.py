"""What spans and metrics cost: twenty books at once with instant models, embedded; without telemetry, with it, and, if
another checkout is named, by that one. The runs take turns, so that what else the machine does falls on all alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from tests.support.tracing import Collector, collecting

HEAD = ["run", "s", "× off", "CPU s a book", "× off", "the least of the runs", "× off"]
BOOKS = 20

# In a process of its own: what telemetry loads is not there in the next run. Another checkout's code runs it, too.
_RUN = """
import json, os, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import psutil
from infra.cli.client import Client
from infra.local.stack import run_stack
from shared.log import Logs, configure_logging
from tests.support.world import manuscript

def cpu():
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(p.cpu_times()[:2]) for p in family)

def wait(client, text):
    book_id = client.post("/api/books/import", {"title": "A Book", "content": text})["book_id"]
    while (status := client.get(f"/api/books/{book_id}/status")["status"]) != "completed":
        assert status != "failed"
        time.sleep(0.2)

configure_logging(Logs(level="error"))
with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
    os.chmod(folder, 0o755)
    with run_stack(Path(folder), "embedded", lambda name, line: None, models="fake", log_level="error") as stack:
        client = Client(url=stack.url, environment=stack.environment)
        wait(client, manuscript(chapters=3))
        texts = [manuscript(chapters=30, words=3000, name=f"Book {n}") for n in range(int(sys.argv[1]))]
        before, began = cpu(), time.monotonic()
        with ThreadPoolExecutor(len(texts)) as pool:
            list(pool.map(lambda text: wait(client, text), texts))
        print(json.dumps({"s": time.monotonic() - began, "cpu": (cpu() - before) / len(texts)}))
"""


class Sink(Collector):
    """Takes what is sent, and looks at nothing: what it costs is not what telemetry does."""

    sent = 0

    def take(self, path: str, body: bytes) -> None:
        self.sent += 1


def telemetry(repeat: int, against: Path | None) -> list[list[Any]]:
    """A row for each way, of `repeat` runs."""
    here = Path(__file__).resolve().parents[2]
    with collecting(sink := Sink()):
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url}
        ways: dict[str, tuple[Path, Mapping[str, str]]] = {"off": (here, {}), "on": (here, on)}
        if against:
            ways["the other checkout"] = (against, {})
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for turn in range(repeat):
            # There and back, so that none is always the last.
            for way, (checkout, variables) in list(ways.items())[:: -1 if turn % 2 else 1]:
                found[way].append(_run(checkout, variables))
    assert sink.sent, "nothing was sent"
    off = _figures(found["off"])
    return [
        [way, *(f"{n:.3f}" for pair in zip(_figures(runs), off, strict=True) for n in (pair[0], pair[0] / pair[1]))]
        for way, runs in found.items()
    ]


def _figures(runs: list[dict[str, float]]) -> tuple[float, float, float]:
    """Medians, and the run that others disturbed the least."""
    cpu = [run["cpu"] for run in runs]
    return median(run["s"] for run in runs), median(cpu), min(cpu)


def _run(checkout: Path, variables: Mapping[str, str]) -> dict[str, float]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("BINDERY_", "OTEL_"))}
    env |= {"PYTHONPATH": str(checkout), "NO_PROXY": "127.0.0.1", **variables}
    command = [sys.executable, "-c", _RUN, str(BOOKS)]
    done = subprocess.run(command, cwd=checkout, env=env, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
