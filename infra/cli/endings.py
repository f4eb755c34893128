"""How a command ends: its exit codes, and the line on standard error that says why."""

from __future__ import annotations

from typing import NoReturn

import typer

from infra.cli import view
from infra.cli.command_name import BINDERY

FAILED, USAGE, UNREACHABLE = 1, 2, 3
"""Exit codes: what was asked for failed (1), was wrong usage (2), or no answer (3)."""

INTERRUPTED = 130

_BAD_REQUEST = (400, 413, 415, 422)
_NO_ANSWER = (0, 502, 503, 504)


def say(message: str) -> None:
    """Prints a line for people on standard error."""
    view.errors.print(message, highlight=False, markup=False, soft_wrap=True)


def complain(message: object) -> None:
    """Says what went wrong, after this command's name."""
    say(f"{BINDERY}: {message}")


def stop(message: str, code: int) -> NoReturn:
    """Ends the command with this exit code."""
    complain(message)
    raise typer.Exit(code)


def code_of(status: int) -> int:
    """The exit code for an API's refusal, by its HTTP status; 0 stands for no answer at all."""
    if status in _NO_ANSWER:
        return UNREACHABLE
    return USAGE if status in _BAD_REQUEST else FAILED
