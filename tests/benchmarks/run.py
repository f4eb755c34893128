"""Measures Bindery and prints tables: `./infra/dev bench --help`.

Every figure stands beside a reference that was measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from infra.cli.client import Client
from infra.local.processes import free_port, is_listening
from infra.local.stack import Backend, run_stack
from shared.adapters.local_models.embedder import LocalEmbedder
from shared.domain.embeddings import EmbeddingTask
from shared.domain.splitting.chapters import split_chapters
from shared.domain.splitting.chunks import split_chunks
from shared.log import Logs, configure_logging
from tests.benchmarks import growth, headings, outage, peer, push, retention, telemetry
from tests.benchmarks.recovery import HEAD, recovery
from tests.benchmarks.search import search
from tests.support.world import manuscript

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"
QUESTIONS = Path(__file__).with_name("novel_questions.json")
HELLO = "import functions_framework\n@functions_framework.http\ndef hello(request):\n    return 'hello'\n"


def table(title: str, head: list[str], rows: list[list[Any]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(f'{c:.2f}' if isinstance(c, float) else str(c) for c in row)} |", flush=True)


class Memory:
    """Peak proportional memory of this process's family, in MB, by name; sampled."""

    def __init__(self) -> None:
        self.peaks: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._stop.wait(1.0):
            now: dict[str, float] = {}
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    name, used = _name(process), process.memory_full_info().pss / 1e6
                except psutil.Error:
                    continue
                now[name] = now.get(name, 0.0) + used
            for name, used in {**now, "all together": sum(now.values())}.items():
                self.peaks[name] = max(self.peaks.get(name, 0.0), used)

    def stop(self) -> dict[str, float]:
        self._stop.set()
        self._thread.join()
        return self.peaks


def _name(process: psutil.Process) -> str:
    line = " ".join(process.cmdline())
    if "watchdog.py" in line:
        return "watchdogs"
    for word in ("pubsub-emulator", "firestore-emulator", "postgres", "function_servers"):
        if word in line or word in process.name():
            return word
    return "stack"


def _cpu() -> float:
    """CPU seconds of this process and all below it."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = process.cpu_times()
            total += times.user + times.system
        except psutil.Error:
            continue
    return total


@contextmanager
def stack(backend: Backend, **settings: Any) -> Iterator[Client]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        quiet: Callable[[str, str], None] = lambda name, line: None  # noqa: E731
        with run_stack(Path(folder), backend, quiet, log_level="error", **settings) as running:
            yield Client(url=running.url, environment=running.environment)


def import_and_wait(client: Client, title: str, content: str) -> tuple[str, float, list[int]]:
    """The book's id, seconds to completion, and each progress seen."""
    started, seen = time.monotonic(), []
    book_id = client.post("/api/books/import", {"title": title, "content": content})["book_id"]
    while True:
        status = client.get(f"/api/books/{book_id}/status")
        seen.append(status["progress"])
        if status["status"] in ("completed", "failed"):
            if status["status"] == "failed":
                raise RuntimeError(str(status["error"]))
            return book_id, time.monotonic() - started, seen
        # Exact to a fiftieth: to ask more often would cost a long book more than that.
        time.sleep(max(0.02, min(0.5, (time.monotonic() - started) / 50)))


def overhead(backends: list[Backend]) -> None:
    """The pipeline's own cost: 30 chapters, 90,000 words, instant models."""
    rows: list[list[Any]] = []
    book = manuscript(chapters=30, words=3000)
    for backend in backends:
        with stack(backend, models="fake") as client:
            import_and_wait(client, "warm-up", manuscript(chapters=3))
            before = _cpu()
            _, seconds, _ = import_and_wait(client, "measured", book)
            spent = _cpu() - before
            rows.append([backend, seconds, spent, spent / 30 * 1000])
    table(
        "Pipeline alone (30 chapters, 90,000 words, instant models)",
        ["backend", "s", "CPU s", "CPU ms a chapter"],
        rows,
    )


def novels(files: list[Path], backends: list[Backend]) -> None:
    """Whole books with the local models, against embedding their chunks alone in one process."""
    rows: list[tuple[str, Backend, int, float, bool]] = []
    searches: list[list[Any]] = []
    memory: dict[Backend, dict[str, float]] = {}
    texts = {f.stem: f.read_bytes().decode() for f in files}
    for backend in backends:
        peak = Memory()
        with stack(backend) as client:
            for name, text in texts.items():
                book_id, seconds, seen = import_and_wait(client, name, text)
                chapters = client.get(f"/api/books/{book_id}/chapters")["chapters"]
                rows.append((name, backend, len(chapters), seconds, seen == sorted(seen)))
                if QUESTIONS.exists() and name in (known := json.loads(QUESTIONS.read_text())):
                    searches.append([name, backend, *_recall(client, book_id, known[name])])
        memory[backend] = peak.stop()
    alone = {name: _embed_alone(text) for name, text in texts.items()}
    table(
        "Whole books, local models",
        ["book", "backend", "chapters", "s", "chunks", "embedding alone s", "ratio", "progress only rose"],
        [[n, b, c, s, alone[n][0], alone[n][1], s / alone[n][1], rose] for n, b, c, s, rose in rows],
    )
    table("Search: passage among the first five", ["book", "backend", "questions", "hybrid", "words alone"], searches)
    for backend, peaks in memory.items():
        table(
            f"Peak memory, {backend} (proportional, MB)", ["process", "MB"], [[n, round(m)] for n, m in peaks.items()]
        )


def _embed_alone(text: str) -> tuple[int, float]:
    chunks = [k.text for s in split_chapters(text).chapters for k in split_chunks(text[s.start : s.end])]
    embedder = LocalEmbedder()
    embedder.embed(["warm up"], EmbeddingTask.QUERY)
    started = time.monotonic()
    embedder.embed(chunks, EmbeddingTask.DOCUMENT)
    return len(chunks), time.monotonic() - started


def _recall(client: Client, book_id: str, questions: list[dict[str, Any]]) -> tuple[int, str, str]:
    """Found in the first five of all, and of the same candidates by PostgreSQL's text rank alone."""
    hybrid = words = 0
    for q in questions:
        results = client.get("/api/search", q=q["question"], book_id=book_id, k=50)["results"]
        end = q["offset"] + q["length"]
        hits = [r["start_offset"] < end and q["offset"] < r["end_offset"] for r in results]
        by_words = sorted(range(len(results)), key=lambda i: -results[i]["text_rank"])
        hybrid += any(hits[:5])
        words += any(hits[i] for i in by_words[:5])
    share = len(questions)
    return share, f"{hybrid / share:.2f}", f"{words / share:.2f}"


def cold_starts() -> None:
    """Each function from exec to its first answer, against a hello world in the same run."""
    rows: list[list[Any]] = []
    with stack("embedded", models="fake") as client, tempfile.TemporaryDirectory() as folder:
        hello = Path(folder) / "hello.py"
        hello.write_text(HELLO)
        environment = {**os.environ, "BINDERY_PROJECT": "p", "BINDERY_AUTH": "local", "BINDERY_MODELS": "local"}
        environment["BINDERY_DATABASE_URL"] = client.environment["BINDERY_DATABASE_URL"]
        environment["PUBSUB_EMULATOR_HOST"] = environment["FIRESTORE_EMULATOR_HOST"] = "127.0.0.1:1"
        reference = statistics.median(_cold(hello, environment)[0] for _ in range(3))
        rows.append(["hello world", reference, 1.0, _cold(hello, environment)[1]])
        for file in sorted(FUNCTIONS.glob("[a-z]*.py")):
            runs = [_cold(file, environment) for _ in range(3)]
            seconds = statistics.median(r[0] for r in runs)
            rows.append([file.stem, seconds, seconds / reference, runs[-1][1]])
    table("Cold start to the first answer", ["function", "s", "× hello world", "MB"], rows)


def _cold(file: Path, environment: dict[str, str]) -> tuple[float, int]:
    """Seconds, and resident megabytes of server and worker."""
    port = free_port()
    env = {**environment, "FUNCTION_TARGET": file.stem, "FUNCTION_SOURCE": str(file), "PORT": str(port), "THREADS": "4"}
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "functions_framework", "--host=127.0.0.1"], env=env, stderr=subprocess.DEVNULL
    )
    while not is_listening(port):
        time.sleep(0.005)
    import requests

    path = "api/books" if file.stem == "api" else ""
    body = {"message": {"data": "eyJqb2JfaWQiOiAieCJ9", "messageId": "1"}}
    requests.request("GET" if file.stem in ("api", "hello") else "POST", f"http://127.0.0.1:{port}/{path}", json=body)
    seconds = time.monotonic() - started
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    memory = sum(p.memory_full_info().uss for p in family)
    process.terminate()
    process.wait()
    return seconds, round(memory / 1e6)


def heading_scores(files: list[Path]) -> None:
    """The chapters' headings of manuscripts of many kinds, against what is written down of each."""
    found = headings.scores(files)
    table("Headings of chapters", list(headings.HEAD), [s.row for s in [*found, headings.together(found)]])
    print("\n" + "\n".join(headings.errors(found) or ["No errors."]))


CHOICES = [
    *("overhead", "growth", "novels", "headings", "cold-starts", "peer", "recovery", "retention", "push", "outage"),
    *("search", "telemetry"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="+", choices=CHOICES)
    parser.add_argument("--backend", action="append", choices=["embedded", "emulators"])
    parser.add_argument(
        "--file", action="append", type=Path, default=[], help="a novel as text; for `novels`, `headings` and `search`"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the moments to kill; for `recovery`")
    parser.add_argument("--books", type=int, default=100, help="at once; for `push`")
    parser.add_argument("--passages", type=int, default=100_000, help="in all; for `search`")
    parser.add_argument("--seconds", type=int, default=600, help="of outage; for `outage`")
    parser.add_argument("--harness", type=Path, help="the folder that loads both systems; for `peer`")
    parser.add_argument("--driver", type=Path, help="how the harness starts this checkout; for `peer`")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each scenario; for `peer` and `telemetry`")
    parser.add_argument("--against", type=Path, help="another checkout that runs the same; for `telemetry`")
    chosen = parser.parse_args()
    configure_logging(Logs(level="error"))
    backends = chosen.backend or ["embedded", "emulators"]
    for what in chosen.what:
        if what == "overhead":
            overhead(backends)
        elif what == "growth":
            table("What a chapter costs", growth.HEAD, growth.growth())
        elif what == "cold-starts":
            cold_starts()
        elif what == "headings":
            heading_scores(chosen.file)
        elif what == "retention":
            table("What a run of `reconcile` costs the database, in ms", retention.HEAD, retention.retention())
        elif what == "peer":
            if not (chosen.harness and chosen.driver):
                parser.error("peer needs --harness and --driver")
            table("Beside another system", peer.HEAD, peer.peer(chosen.harness, chosen.driver, chosen.repeat))
        elif what == "push":
            table("Books over Pub/Sub's push, as documented", push.HEAD, push.push(chosen.books))
        elif what == "outage":
            table("An outage of both models", outage.HEAD, outage.outage(chosen.seconds))
        elif what == "telemetry":
            table("What telemetry costs", telemetry.HEAD, telemetry.telemetry(chosen.repeat, chosen.against))
        elif what == "search":
            for title, head, rows in search(chosen.file, chosen.passages):
                table(title, head, rows)
        elif what == "recovery":
            table(f"Seconds to recover from a SIGKILL (seed {chosen.seed})", HEAD, recovery(chosen.seed))
        else:
            novels(chosen.file or [Path(__file__).resolve().parents[2] / "infra" / "local" / "sample.md"], backends)


if __name__ == "__main__":
    main()
