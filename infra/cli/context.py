"""What all commands share: the options that say where Bindery is and how to answer, and the client that they make."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from infra.cli.client import Client
from infra.cli.command_name import BINDERY
from infra.cli.endings import UNREACHABLE, USAGE, stop
from infra.local.stack import running_stack

_WHERE = "Where Bindery is"


@dataclass(frozen=True, kw_only=True)
class LocalContext:
    """For commands that run a stack of their own."""

    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir",
            envvar="BINDERY_DATA_DIR",
            help="Where the local stack keeps its state.",
            rich_help_panel=_WHERE,
        ),
    ] = Path(".bindery")
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False

    def show(self, answer: Any, for_people: Callable[[Any], None]) -> None:
        """Prints the answer as one line of JSON if that was asked for, else as people read it."""
        print_json(answer) if self.as_json else for_people(answer)


@dataclass(frozen=True, kw_only=True)
class Context(LocalContext):
    """For commands that ask an API: the local stack's, or a deployment's."""

    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            envvar="BINDERY_URL",
            help="A deployment; without it, the local stack.",
            rich_help_panel=_WHERE,
        ),
    ] = None
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="BINDERY_TOKEN", help="Your Firebase ID token.", rich_help_panel=_WHERE),
    ] = None
    project: Annotated[
        str | None,
        typer.Option(
            "--project",
            envvar=["BINDERY_PROJECT", "GOOGLE_CLOUD_PROJECT"],
            help="Google Cloud project of the live documents, to watch a book.",
            rich_help_panel=_WHERE,
        ),
    ] = None

    @cached_property
    def client(self) -> Client:
        """Ends the command if --url is not an address, or if it is not given and no local stack runs."""
        local = running_stack(self.data_dir)
        if self.url:
            if not _is_address(self.url):
                stop(f"{self.url} is no address; give one that begins with http:// or https://", USAGE)
            known = local if local and local["BINDERY_URL"] == self.url else self._environment
            return Client(url=self.url, token=self.token, environment=known)
        if local is None:
            stop(
                f"no local stack is running here; start one with `{BINDERY} dev`, or name a deployment with --url",
                UNREACHABLE,
            )
        return Client(url=local["BINDERY_URL"], environment=local)

    @property
    def _environment(self) -> Mapping[str, str]:
        known = {
            "GOOGLE_CLOUD_PROJECT": self.project,
            "FIRESTORE_EMULATOR_HOST": os.environ.get("FIRESTORE_EMULATOR_HOST"),
        }
        return {name: value for name, value in known.items() if value}


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def print_json(value: Any) -> None:
    print(json.dumps(value, default=str, ensure_ascii=False), flush=True)
