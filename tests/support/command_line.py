"""The command line, as its user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CLI = [sys.executable, "-m", "infra.cli.main"]
_SECONDS = 240.0


def bindery(
    data: Path | None,
    *arguments: str,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command, on the stack of a data folder if one is given. `env` is added to the environment."""
    command = [*CLI, *arguments, *(["--data-dir", str(data)] if data else [])]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        input=stdin,
        timeout=_SECONDS,
        env=os.environ | dict(env or {}),
        cwd=cwd,
    )


def call(data: Path, *arguments: str, stdin: str | None = None) -> list[Any]:
    """Run a command that must succeed, and return each line of JSON that it printed."""
    done = bindery(data, *arguments, "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]
