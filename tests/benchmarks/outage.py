"""What an outage of both models costs twenty books on the emulators: calls in vain, and seconds until all is as before.

Fake models take one to three seconds a request; while they are away they answer at once, without saying for how long.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.local.emulator_stack import EmulatorStack
from infra.local.emulators import Missing, find_emulators
from tests.support.chaos import folder
from tests.support.waiting import poll
from tests.support.workload import Workload, environment
from tests.support.world import manuscript

HEAD = ["what", "measured"]
BOOKS, CHAPTERS, BEFORE_SECONDS, WINDOW = 20, 40, 25, 10
MODEL_SECONDS = "1-3"

_ENDED = """
    SELECT count(*)::int AS n FROM jobs
    WHERE type IN ('chapter-processing', 'embedding-generation') AND finished_on >= %s AND finished_on < %s
"""
_UNFINISHED = "SELECT 1 FROM processing_status WHERE entity_type = 'book' AND status <> 'completed'"


def outage(seconds: int) -> list[list[Any]]:
    """The rows of a table."""
    found = find_emulators()
    if isinstance(found, Missing):
        raise SystemExit(found.reason)
    with tempfile.TemporaryDirectory() as signs, folder() as data:
        os.chmod(signs, 0o777)
        away = Path(signs) / "away"
        models = {"BINDERY_FAKE_MODEL_SECONDS": MODEL_SECONDS, "BINDERY_FAKE_MODEL_AWAY": str(away)}
        with (
            environment(models),
            closing(EmulatorStack(data, {"models": "fake"}, lambda name, line: None, found)) as stack,
        ):
            return _measure(Workload(stack.environment, "outage"), away, seconds)


def _measure(workload: Workload, away: Path, seconds: int) -> list[list[Any]]:
    for n in range(BOOKS):
        workload.post(f"Book {n}", manuscript(CHAPTERS, 60, name=f"{n} ")).raise_for_status()
    time.sleep(BEFORE_SECONDS)
    began = _now()
    away.touch()
    time.sleep(seconds)
    in_vain = away.stat().st_size
    away.unlink()
    ended = _now()
    for _ in poll(900, "all books", pause_seconds=1):
        if not workload.query(_UNFINISHED):
            break
    before = _rate(workload, began - timedelta(seconds=WINDOW))
    again = next(n for n in range(300) if _rate(workload, ended + timedelta(seconds=n)) >= 0.9 * before)
    dead = workload.query("SELECT count(*)::int AS n FROM dead_letters")[0]["n"]
    return [
        [f"{BOOKS} books completed after {seconds} s of outage, dead letters", dead],
        ["calls in vain, of both models", in_vain],
        [f"chapters and groups a second, in the {WINDOW} s before", f"{before:.1f}"],
        ["seconds from its end to as many", again],
        ["seconds from its end until all were completed", round((_now() - ended).total_seconds())],
    ]


def _rate(workload: Workload, since: datetime) -> float:
    (row,) = workload.query(_ENDED, since, since + timedelta(seconds=WINDOW))
    return float(row["n"]) / WINDOW


def _now() -> datetime:
    return datetime.now(UTC)
