"""Kills parts of a local stack with SIGKILL at random moments, and starts the stacks that this is done to."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from infra.local.stack import running_stack
from shared.domain.stages import STAGES
from tests.support.workload import BOOKS, Workload, poll

SLOW_MODELS = {"BINDERY_FAKE_MODEL_SECONDS": "0.2", "BINDERY_MODELS": "fake", "BINDERY_MAX_BOOKS_UNDER_WAY": "1000"}
"""A stack's environment variables: its fake models take so long that there is time to kill."""

START_SECONDS = 180.0

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
    """Kill a function's server and workers, or an emulator, and return when that was."""
    end(family(watchdog)[1:])
    return datetime.now(UTC)


def kill_worker(watchdog: int) -> datetime:
    """Kill the process that runs the function's code, not its server, and return when that was."""
    end(family(watchdog)[2:])
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
    schedule = KillSchedule(rng, times, {"": 7 * len(BOOKS)})
    kills: list[tuple[datetime, str]] = []
    for _ in poll(START_SECONDS, "the moment to kill"):
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


@contextmanager
def dev(data: Path) -> Iterator[psutil.Popen]:
    """Run `bindery dev` on the emulators until the end of the block."""
    command = [sys.executable, "-m", "infra.cli.main", "dev", "--backend", "emulators", "--data-dir", str(data)]
    with (data / "log").open("a") as log, psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            end([process], signal.SIGTERM)
            process.wait(60)


def await_stack(data: Path, process: psutil.Popen) -> dict[str, str]:
    for _ in poll(START_SECONDS, "the stack"):
        assert process.is_running(), (data / "log").read_text()[-2000:]
        if found := running_stack(data):
            return dict(found)
    raise AssertionError


def kill_machine(process: psutil.Popen) -> datetime:
    end(family(process.pid))
    process.wait(60)
    return datetime.now(UTC)
