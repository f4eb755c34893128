"""What all commands share: their options, how they find Bindery, and how they end."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from infra.cli import view
from infra.cli.client import Client
from infra.local.stack import running_stack

FAILED, USAGE, UNREACHABLE = 1, 2, 3
"""Exit codes: what was asked for failed (1), was asked wrongly (2), or nobody answered (3)."""

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="BINDERY_DATA_DIR", help="Where the local stack keeps its state.")
]
Url = Annotated[
    str | None, typer.Option("--url", envvar="BINDERY_URL", help="A deployment; without it, the local stack.")
]
Token = Annotated[str | None, typer.Option("--token", envvar="BINDERY_TOKEN", help="Your Firebase ID token.")]
Project = Annotated[
    str | None, typer.Option("--project", envvar="BINDERY_PROJECT", help="The deployment's Google Cloud project.")
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
DATA = Path(".bindery")

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def say(message: str) -> None:
    view.errors.print(message, highlight=False, markup=False, soft_wrap=True)


def stop(message: str, code: int) -> NoReturn:
    say(f"bindery: {message}")
    raise typer.Exit(code)


def print_json(value: Any) -> None:
    print(json.dumps(value, default=str, ensure_ascii=False), flush=True)


def connect(url: str | None, token: str | None, project: str | None, data_dir: Path) -> Client:
    if url:
        environment = {"GOOGLE_CLOUD_PROJECT": project} if project else {}
        local = running_stack(data_dir)
        return Client(url=url, token=token, environment=local if local and local["BINDERY_URL"] == url else environment)
    environment_of_stack = running_stack(data_dir)
    if environment_of_stack is None:
        stop(
            "no local stack is running here; start one with `bindery dev`, or name a deployment with --url", UNREACHABLE
        )
    return Client(url=environment_of_stack["BINDERY_URL"], environment=environment_of_stack)


def moment(text: str | None) -> str | None:
    """A time as the API takes it, from `2h` or ISO 8601. Raises typer.BadParameter."""
    if text is None:
        return None
    try:
        if found := re.fullmatch(r"(\d+)([smhd])", text):
            return (datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: int(found[1])})).isoformat()
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.astimezone()).isoformat()
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is neither like 30m, 2h, 7d nor a time in ISO 8601") from None
