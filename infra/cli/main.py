"""`bindery`: the local stack, and Bindery's API from a terminal."""

from __future__ import annotations

import signal
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from infra.cli import books, dead_letters, doctor, imports, keys, operations, reembed, stacks, webhooks
from infra.cli.client import ApiError
from infra.cli.command_name import BINDERY
from infra.cli.endings import FAILED, INTERRUPTED, UNREACHABLE, USAGE, code_of, complain
from infra.cli.listeners import ListenFailed, Unwatchable
from infra.cli.option_groups import Commands
from infra.local.postgres import AlreadyRunning
from infra.local.processes import StartFailed
from infra.local.stack import NoEmulators
from shared.domain.errors import ConfigError, Unavailable

app = Commands(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Turns a manuscript into a book that software can use.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no answer.",
)
for module in (stacks, imports, books, operations, doctor, reembed):
    app.add_typer(module.commands)
app.add_typer(dead_letters.letters, name="dead-letters")
app.add_typer(keys.keys, name="keys")
app.add_typer(webhooks.webhooks, name="webhooks")
app.add_typer(operations.snapshots, name="snapshot")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"bindery {version('bindery')}")
        raise typer.Exit


@app.callback()
def bindery(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turns a manuscript into a book that software can use."""


def main() -> None:
    """The entry point: errors are said in a line, without a traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` stops the stack as Ctrl-C does
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may lack a title's letters
    try:
        app(prog_name=BINDERY)
    except ApiError as error:
        complain(error)
        code = code_of(error.status)
    except Unwatchable as error:
        complain(error)
        code = USAGE
    except Unavailable as error:
        complain(error)
        code = UNREACHABLE
    except (NoEmulators, AlreadyRunning, StartFailed, ConfigError, ListenFailed) as error:
        complain(error)
        code = FAILED
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
