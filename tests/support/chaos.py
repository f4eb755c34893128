"""Kills parts of a local stack with SIGKILL at random moments."""

from __future__ import annotations

import os
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from shared.domain.stages import STAGES
from tests.support.waiting import poll
from tests.support.workload import BOOKS, DEADLINE, LOOK_SECONDS, Workload

FUNCTIONS = {s.function: s.type.value for s in STAGES.values()}
"""The type of job that each function does, by the function's name."""


def end(processes: Sequence[psutil.Process], number: int = signal.SIGKILL) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def family(pid: int) -> list[psutil.Process]:
    """Return the process and all its descendants, or nothing if it is gone."""
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_all_below(watchdog: int) -> datetime:
    """Kill an emulator, and return when that was."""
    end(family(watchdog)[1:])
    return datetime.now(UTC)


def kill_function(server: int) -> datetime:
    """Kill a function's server and its worker, and return when that was."""
    end(family(server))
    return datetime.now(UTC)


def kill_worker(server: int) -> datetime:
    """Kill the process that runs the function's code, not its server, and return when that was."""
    end(family(server)[1:])
    return datetime.now(UTC)


class KillSchedule:
    """When to kill each function: when so many jobs of its type are completed, drawn by lot."""

    def __init__(self, rng: random.Random, times: int, totals: dict[str, int]) -> None:
        self._due = {
            name: sorted(rng.randrange(0, max(1, totals.get(name, total))) for _ in range(times))
            for name, total in totals.items()
        }

    def due(self, counts: Counter[tuple[str, str]]) -> list[str]:
        """Return the functions to kill now. `counts` are the jobs by type and state."""
        everything = sum(n for (_, state), n in counts.items() if state == "completed")
        come = []
        for name, moments in self._due.items():
            completed = counts[FUNCTIONS[name], "completed"] if name in FUNCTIONS else everything
            if moments and completed >= moments[0]:
                moments.pop(0)
                come.append(name)
        return come

    def left(self) -> int:
        return sum(map(len, self._due.values()))


def kill_server(watchdog: int) -> datetime:
    """Kill the postmaster, not its sessions, and return when that was."""
    end(family(watchdog)[1:2])
    return datetime.now(UTC)


def kill_at(
    rng: random.Random, workload: Workload, kill: Callable[[], datetime], times: int
) -> list[tuple[datetime, str]]:
    """Wait until random numbers of jobs are completed, and kill each time. Return when that was."""
    schedule = KillSchedule(rng, times, {"": 5 * len(BOOKS)})
    kills: list[tuple[datetime, str]] = []
    for _ in poll(DEADLINE, "the moment to kill", pause_seconds=LOOK_SECONDS):
        if schedule.due(workload.counts()):
            kills.append((kill(), ""))
        if not schedule.left():
            break
    return kills


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder that PostgreSQL's user can reach, too, and remove it at the end."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def kill_machine(process: psutil.Popen) -> datetime:
    end(family(process.pid))
    process.wait(60)
    return datetime.now(UTC)
