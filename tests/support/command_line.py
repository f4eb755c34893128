"""The command line, as its user runs it: each call is a process of its own.

The processes are forked from one that has the modules loaded, which takes a quarter of the time of a new interpreter.
What the command line reads from the environment at import (BINDERY_COMMAND) is that process's: see CLI.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# A new interpreter.
CLI = [sys.executable, "-m", "infra.cli.main"]
_SECONDS = 240.0

_forked = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload(["infra.cli.main", "pydantic.type_adapter"])


def bindery(
    data: Path | None,
    *arguments: str,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command, on the stack of a data folder if one is given. `env` is added to the environment."""
    with started(*arguments, *(["--data-dir", str(data)] if data else []), stdin=stdin, env=env, cwd=cwd) as command:
        return command.ended()


@dataclass(frozen=True, kw_only=True)
class StartedCommand:
    pid: int
    ended: Callable[[], subprocess.CompletedProcess[str]]
    """Waits for its end."""


@contextmanager
def started(
    *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[StartedCommand]:
    """Start a command, and kill it at the end of the block if it has not ended. `env` is added to the environment."""
    command = ["bindery", *arguments]
    with TemporaryDirectory() as streams:
        folder = Path(streams)
        (folder / "0").write_text(stdin, "utf-8")
        process = _forked.Process(
            target=_run, args=(command, os.environ | dict(env or {}), cwd or Path.cwd(), folder), name="bindery"
        )
        process.start()

        def ended() -> subprocess.CompletedProcess[str]:
            process.join(_SECONDS)
            if process.exitcode is None:
                raise subprocess.TimeoutExpired(command, _SECONDS)
            out, err = ((folder / name).read_text("utf-8") for name in ("1", "2"))
            return subprocess.CompletedProcess(command, process.exitcode, out, err)

        assert process.pid
        try:
            yield StartedCommand(pid=process.pid, ended=ended)
        finally:
            process.kill()
            process.join()


def _run(command: Sequence[str], env: Mapping[str, str], cwd: Path, folder: Path) -> None:
    from infra.cli.main import main

    for number, flags in enumerate((os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)):
        os.dup2(os.open(folder / str(number), flags), number)
    sys.stdin = os.fdopen(0, encoding="utf-8")
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = list(command)
    main()


def call(data: Path, *arguments: str, stdin: str = "") -> list[Any]:
    """Run a command that must succeed, and return each line of JSON that it printed."""
    done = bindery(data, *arguments, "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]
