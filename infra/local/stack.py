"""Chooses and runs a local stack, and lets other processes of this machine find it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, Protocol
from urllib.parse import urlsplit

from infra.local.emulators import Missing, find_emulators
from infra.local.locks import is_locked, lock
from infra.local.ports import PortOf, any_port
from infra.local.processes import OnLine
from shared.loopback import LOOPBACK

Backend = Literal["auto", "emulators", "embedded"]

_STATE = "stack.json"
_STREAMS = "32"


class Stack(Protocol):
    """A running stack. `environment` is what an app needs to connect to it."""

    backend: str
    because: str
    url: str
    environment: dict[str, str]

    def close(self) -> None: ...


class NoEmulators(Exception):
    """The emulators were asked for, and are not here."""


@contextmanager
def run_stack(
    data: Path, backend: Backend, on_line: OnLine, port_of: PortOf = any_port, **settings: Any
) -> Iterator[Stack]:
    """Starts a stack on the data folder and stops it at the end. Raises NoEmulators, AlreadyRunning, StartFailed.

    `settings` are the functions' (`models="fake"`); what they don't say, the environment may (`BINDERY_MODELS`).
    The models are local unless one of them says otherwise, webhooks may go to this machine, and there may be more live
    streams than in the cloud.
    """
    ours = {
        "models": os.environ.get("BINDERY_MODELS", "local"),
        "webhooks_allow_private": os.environ.get("BINDERY_WEBHOOKS_ALLOW_PRIVATE", "true"),
        "max_streams": os.environ.get("BINDERY_MAX_STREAMS", _STREAMS),
    }
    stack = _start(data, backend, {**ours, **settings}, on_line, port_of)
    state = data / _STATE
    try:
        with _private(state) as file:
            lock(file)
            json.dump({"backend": stack.backend, "environment": dict(stack.environment)}, file)
            file.flush()
            yield stack
    finally:
        state.unlink(missing_ok=True)
        stack.close()


def _start(data: Path, backend: Backend, settings: Mapping[str, Any], on_line: OnLine, port_of: PortOf) -> Stack:
    found = find_emulators() if backend != "embedded" else Missing("they were not asked for")
    if isinstance(found, Missing):
        if backend == "emulators":
            raise NoEmulators(found.reason)
        from infra.local.embedded_stack import EmbeddedStack

        embedded = EmbeddedStack(data, settings, on_line, port_of=port_of)
        if backend == "auto":
            embedded.because = f"there are no emulators: {found.reason}"
        return embedded
    from infra.local.emulator_stack import EmulatorStack

    return EmulatorStack(data, settings, on_line, found, port_of=port_of)


def running_stack(data: Path) -> Mapping[str, str] | None:
    """The environment of the stack that runs on this data folder, if one does, and this user started it."""
    try:
        with (data / _STATE).open() as file:
            about = os.fstat(file.fileno())
            if about.st_uid != os.geteuid() or about.st_mode & 0o077:
                return None  # unpacked or planted by somebody else: its addresses can't be trusted
            environment = dict(json.load(file)["environment"])
            if not is_locked(file):
                return None  # left by a stack that was killed
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return environment if urlsplit(str(environment.get("BINDERY_URL"))).hostname in LOOPBACK else None


def _private(file: Path) -> IO[str]:
    """Makes it anew, for this user alone: it names the database's password."""
    file.unlink(missing_ok=True)
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
