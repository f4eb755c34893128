"""How the tests are shared out among pytest-xdist's workers: by file, the longest first, and each worker on one CPU.

A file stays on one worker, since its tests may share something that was made once. Not by `--dist loadgroup`: with pytest
9.2 it groups nothing (pytest-xdist 1386).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

_ROOT = Path(__file__).resolve().parents[2]

TOGETHER = {
    "tests/acceptance/test_cli.py": "stacks",
    "tests/acceptance/test_killed_stack.py": "stacks",
    "tests/integration/test_kills.py": "kills",
    "tests/acceptance/test_operator.py": "kills",
}
"""Files that start stacks of a dozen processes each: one after the other, or all of them wait for the machine."""

SPREAD = frozenset(
    {
        "tests/integration/test_functions.py",
        "tests/integration/test_limits.py",
        "tests/integration/test_pipeline.py",
        "tests/integration/test_processes.py",
        "tests/integration/test_reconcile.py",
        "tests/integration/test_redrives.py",
        "tests/integration/test_retention.py",
        "tests/simulation/real/test_real_simulation.py",
        "tests/simulation/test_simulation.py",
        "tests/unit/test_chapters_properties.py",
    }
)
"""Files whose tests share nothing that takes long to make: each goes to the worker that is free."""

LONGEST_FIRST = (
    *TOGETHER,
    "tests/acceptance/test_many_books.py",
    "tests/integration/test_limits.py",
    "tests/integration/test_openapi.py",
    "tests/simulation/test_simulation.py",
    "tests/simulation/real/test_real_simulation.py",
    "tests/integration/test_reembed.py",
    "tests/integration/test_fuzz.py",
    "tests/integration/test_stores_down.py",
    "tests/integration/test_push_auth.py",
    "tests/contract/test_seekable_broker.py",
)
"""What begins last should be short."""


def in_order(files: Sequence[str]) -> list[int]:
    """Return the places of tests in the order in which they are to begin. `files` are the tests' files, by place."""
    assert all((_ROOT / file).exists() for file in (*SPREAD, *LONGEST_FIRST)), "a file was renamed"
    ranks = {name: n for n, name in enumerate(LONGEST_FIRST)}
    return sorted(range(len(files)), key=lambda n: ranks.get(files[n], len(ranks)))


class SharingOut(LoadScopeScheduling):  # type: ignore[misc]
    """Hands one piece of work after the other to the workers, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the piece of work that a test belongs to: itself, its file, or files that go together."""
        file = nodeid.partition("::")[0]
        return nodeid if file in SPREAD else TOGETHER.get(file, file)


def cpus() -> list[int]:
    """Return the CPUs that this process may use."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else list(range(os.cpu_count() or 1))


def stay_on_one_cpu(worker: int) -> None:
    """Keep a worker, and all that it starts, on one CPU, where the system can. `worker` counts from 0.

    Its tests, functions, PostgreSQL and emulators take turns. To wake one another on another CPU costs a virtual machine
    so much that the whole suite takes half as long again.
    """
    if sys.platform == "linux":
        allowed = cpus()
        os.sched_setaffinity(0, {allowed[worker % len(allowed)]})
