"""Bindery beside another system that does the same job, loaded by one harness in one run.

The harness is a folder with a `run.sh` that takes a scenario and `--system`s and prints JSON, where `summary` has the
medians of each. Its scenarios: `a` is a book and `b` are twenty, with instant models; `c` are twenty with models that take
0.3, 1.5 and 0.15 s. The driver tells it how this checkout is started; `BINDERY_HOME` names it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEAD = ["work", "the other", "embedded", "times", "emulators", "times", "must be (embedded, emulators)"]
HOME = Path(__file__).resolve().parents[2]
OTHER, BACKENDS = "bullmq:tuned", ("embedded", "emulators")
SCENARIOS: Mapping[str, Sequence[str]] = {
    "a": ["a", "--poll", "0.05"],
    "b": ["b"],
    "c": ["c"],
    "c, one book": ["c", "--books", "1", "--poll", "0.05"],
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What of a scenario's summary stands in the table; `books` divides a sum over all of them."""

    work: str
    scenario: str
    figure: str
    must: str
    books: int = 1


ROWS = (
    Row(work="c: books a minute", scenario="c", figure="books_per_min", must="≥ 1.5, ≥ 1.0"),
    Row(work="c, one book alone: s", scenario="c, one book", figure="e2e_p50_s", must="≤ 0.65"),
    Row(work="b: books a minute", scenario="b", figure="books_per_min", must="≥ 0.6"),
    Row(work="b: CPU s a book", scenario="b", figure="cpu_s_total", must="≤ 2", books=20),
    Row(work="a: s from end to end", scenario="a", figure="e2e_p50_s", must="≤ 1.3"),
    Row(work="b: import p50, ms", scenario="b", figure="import_p50_ms", must="≤ 1.0"),
    Row(work="b: import p99, ms", scenario="b", figure="import_p99_ms", must="≤ 1.0"),
    Row(work="b: peak memory, MB", scenario="b", figure="peak_pss_mb", must="–"),
)


def peer(harness: Path, driver: Path, repeat: int) -> list[list[Any]]:
    """The table's rows: medians of so many runs, in which the systems take turns."""
    found = {name: _summary(harness, driver, arguments, repeat) for name, arguments in SCENARIOS.items()}
    return [_row(row, found[row.scenario]) for row in ROWS]


def _row(row: Row, summary: Mapping[str, Mapping[str, float]]) -> list[Any]:
    other, *ours = (summary[name][row.figure] / row.books for name in (OTHER.replace(":", "-"), *map(_name, BACKENDS)))
    return [row.work, other, *(cell for figure in ours for cell in (figure, figure / other)), row.must]


def _summary(harness: Path, driver: Path, arguments: Sequence[str], repeat: int) -> dict[str, dict[str, float]]:
    systems = [OTHER, *(f"{driver.resolve()}:{backend}" for backend in BACKENDS)]
    options = [option for system in systems for option in ("--system", system)]
    command = [str(harness.resolve() / "run.sh"), *arguments, *options, "--repeat", str(repeat)]
    environment = os.environ | {"BINDERY_HOME": str(HOME)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    summary: dict[str, dict[str, float]] = json.loads(done.stdout)["summary"]
    return summary


def _name(backend: str) -> str:
    return f"bindery-{backend}"
