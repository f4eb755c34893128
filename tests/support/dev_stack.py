"""`bindery dev`, as a process of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from infra.local.processes import free_port
from infra.local.stack import running_stack
from tests.support.command_line import CLI
from tests.support.waiting import poll

SLOW_MODELS = {"BINDERY_FAKE_MODEL_SECONDS": "0.2", "BINDERY_MODELS": "fake", "BINDERY_MAX_BOOKS_UNDER_WAY": "1000"}
"""Environment variables of a stack whose fake models take so long that there is time to kill."""

START_SECONDS = 180.0
STOP_SECONDS = 60.0


@contextmanager
def dev(data: Path, backend: str, variables: Mapping[str, str] | None = None, *options: str) -> Iterator[psutil.Popen]:
    """Run `bindery dev --json` on a data folder, from when it is up until the end of the block.

    What it writes is in the folder's files `out` and `log`. `variables` are added to its environment. It begins at a
    port of its own: other tests run beside it.
    """
    command = [*CLI, "dev", "--json", "--backend", backend, "--data-dir", str(data), *options]
    if not (data / "ports.json").exists():
        command += ["--port", str(free_port())]
    env = os.environ | dict(variables or {})
    with (data / "out").open("w") as out, (data / "log").open("a") as log:
        process = psutil.Popen(command, stdout=out, stderr=log, env=env)
    with process:
        try:
            for _ in poll(START_SECONDS, "the stack"):
                assert process.poll() is None, (data / "log").read_text()[-2000:]
                if running_stack(data):
                    break
            yield process
        finally:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)


def address(data: Path) -> dict[str, str]:
    """Return the environment variables that lead to the stack that runs on a data folder."""
    found = running_stack(data)
    assert found, f"no stack runs on {data}"
    return dict(found)
