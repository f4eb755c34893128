"""Ends processes as a crash does: with SIGKILL, and at random moments; and the stacks that it is done to."""

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

SLOW = {"BINDERY_FAKE_MODEL_SECONDS": "0.2", "BINDERY_MODELS": "fake", "BINDERY_MAX_BOOKS_UNDER_WAY": "1000"}
"""What a stack's environment says, so that there is time to kill."""

START_SECONDS = 180.0

FUNCTIONS = {s.function: s.type.value for s in STAGES.values()}
"""The type of job that a function does."""


def end(processes: Sequence[psutil.Process], number: int = signal.SIGKILL) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def family(pid: int) -> list[psutil.Process]:
    """The process and all below it; nothing if it is gone."""
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_all_below(watchdog: int) -> datetime:
    """Kills a function's server and workers, or an emulator. When it was done."""
    end(family(watchdog)[1:])
    return datetime.now(UTC)


def kill_worker(watchdog: int) -> datetime:
    """Kills the process that runs the function's code; its server lives on."""
    end(family(watchdog)[2:])
    return datetime.now(UTC)


class Moments:
    """Each function's times to die: when so many jobs of its type are completed, drawn by lot."""

    def __init__(self, chance: random.Random, times: int, totals: dict[str, int]) -> None:
        self._due = {
            name: sorted(chance.randrange(0, max(1, totals.get(name, total))) for _ in range(times))
            for name, total in totals.items()
        }

    def due(self, counts: Counter[tuple[str, str]]) -> list[str]:
        """The functions whose time has come, by the jobs that are completed."""
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
    """The postmaster alone: its sessions must not go on without it."""
    end(family(watchdog)[1:2])
    return datetime.now(UTC)


def kill_at(
    chance: random.Random, workload: Workload, kill: Callable[[], datetime], times: int
) -> list[tuple[datetime, str]]:
    """Kills when random numbers of jobs are completed, and waits for that."""
    moments = Moments(chance, times, {"": 7 * len(BOOKS)})
    kills: list[tuple[datetime, str]] = []
    for _ in poll(START_SECONDS, "the moment to kill"):
        if moments.due(workload.counts()):
            kills.append((kill(), ""))
        if not moments.left():
            break
    return kills


@contextmanager
def folder() -> Iterator[Path]:
    """One that PostgreSQL's user can reach, too."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextmanager
def dev(data: Path) -> Iterator[psutil.Popen]:
    """A `bindery dev`."""
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
