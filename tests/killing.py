"""Ends processes as a crash does: with SIGKILL, and at random moments."""

from __future__ import annotations

import contextlib
import random
import signal
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import psutil

from shared.domain.stages import STAGES

FUNCTIONS = {s.function: s.type.value for s in STAGES.values()}
"""The type of job that a function does."""


def end(processes: Sequence[psutil.Process], number: int = signal.SIGKILL) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
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
