"""Commands that work on this machine: the demo, the local stack, and the migrations of a database."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from infra.cli.client import Client
from infra.cli.command_name import BINDERY, examples
from infra.cli.context import LocalContext, print_json
from infra.cli.endings import FAILED, USAGE, say, stop
from infra.cli.manuscript import Encoding, read_manuscript, title_of
from infra.cli.option_groups import Commands
from infra.local.ports import FIRST_PORT, KeptPorts
from infra.local.stack import Backend, run_stack, running_stack

commands = Commands()

Which = Annotated[str, typer.Option("--backend", help="auto, emulators or embedded.", metavar="BACKEND")]


def _backend(name: str) -> Backend:
    if name not in ("auto", "emulators", "embedded"):
        raise typer.BadParameter("choose auto, emulators or embedded", param_hint="--backend")
    return name  # type: ignore[return-value]


@commands.command(
    epilog=examples(
        f"{BINDERY} demo",
        f"{BINDERY} demo novel.txt --query 'who stole the letters?'",
        f"{BINDERY} demo --json | jq .summary",
    )
)
def demo(
    context: LocalContext,
    file: Annotated[str | None, typer.Argument(help="A text or Markdown file; without it, a sample.")] = None,
    query: Annotated[str | None, typer.Option(help="What to search for when it is done.")] = None,
    encoding: Encoding = None,
    backend: Which = "auto",
) -> None:
    """Import a book on a stack of its own, watch it, and search in it."""
    from infra.cli.demo import run_demo

    content = read_manuscript(file, encoding) if file else None
    title = title_of(file, content) if file and content is not None else None
    with _stack(context.data_dir, _backend(backend)) as client:
        result = run_demo(client, content, title, query, context.as_json)
    if context.as_json:
        print_json(result)
    if result["status"] != "completed":
        raise typer.Exit(FAILED)


@contextmanager
def _stack(data_dir: Path, backend: Backend) -> Iterator[Client]:
    """The stack that runs on the data folder, or one that lives as long as this."""
    running = running_stack(data_dir)
    if running:
        say(f"using the stack that runs on {data_dir}")
        yield Client(url=running["BINDERY_URL"], environment=running)
        return
    log = data_dir / "stack.log"
    with _opened(log) as out:
        from shared.config import read_log_config
        from shared.log import configure_logging
        from shared.serving import traceparent

        # The embedded functions would log to this process's standard error.
        configure_logging(read_log_config(), out, traceparent)
        with run_stack(data_dir, backend, lambda name, line: _log(out, name, line)) as stack:
            say(f"{stack.backend} backend, since {stack.because}; log: {log}")
            yield Client(url=stack.url, environment=stack.environment)


def _opened(log: Path) -> TextIO:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("a")
    except OSError as error:
        stop(f"{error.filename}: {error.strerror}; --data-dir names another folder", USAGE)


def _log(out: TextIO, name: str, line: str) -> None:
    out.write(f"{name:<20} {line}\n")  # at once: several threads write
    out.flush()


@commands.command(
    epilog=examples(
        f"{BINDERY} dev",
        f"{BINDERY} dev --app ../my-web-app",
        f"{BINDERY} dev --backend embedded --port 9000 --data-dir /tmp/bindery",
    )
)
def dev(
    context: LocalContext,
    backend: Which = "auto",
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_535,
            help=f"The API's port; the data folder keeps it, and those of the emulators. At first: {FIRST_PORT}, or the"
            " next that is free.",
        ),
    ] = None,
    app: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            writable=True,
            help="A web app's folder: its .env.local is told where the stack is, by the names that Vite and Next read.",
        ),
    ] = None,
) -> None:
    """Run the local stack until Ctrl-C, with the log lines of all functions (with --json on standard error)."""
    from infra.cli.env_file import write_env_file
    from shared.config import read_log_config
    from shared.log import configure_logging
    from shared.serving import traceparent

    data_dir, log = context.data_dir, sys.stderr if context.as_json else sys.stdout
    if running_stack(data_dir):
        stop(f"a stack runs on {data_dir} already; choose another --data-dir", FAILED)
    configure_logging(read_log_config(), trace=traceparent)
    ports = KeptPorts(data_dir, port)
    with run_stack(data_dir, _backend(backend), lambda name, line: _log(log, name, line), ports) as stack:
        written = write_env_file(app, stack.environment) if app else None
        for moved in ports.moved:
            say(moved)
        if context.as_json:
            print_json({"backend": stack.backend, "because": stack.because, "environment": dict(stack.environment)})
        else:
            print(f"\nBindery is up: {stack.url}/api/openapi.json")
            print(
                f"Backend: {stack.backend}, since {stack.because}\n\nFor your app, and for {BINDERY} in other folders:"
            )
            for name, value in stack.environment.items():
                print(f"  export {name}={shlex.quote(value)}")
            if written:
                print(f"\nYour web app finds it by {written}")
            print(
                f"\nIn another terminal: {BINDERY} --help; {BINDERY} import FILE --watch (data: {data_dir})\n",
                flush=True,
            )
        _wait_for_a_signal()


def _wait_for_a_signal() -> None:
    """Wait until a handler raises. `signal.pause` would miss a signal that came just before it."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    while True:
        os.read(wake_read, 1)


@commands.command(epilog=examples(f"BINDERY_DATABASE_URL=postgresql://… {BINDERY} migrate"))
def migrate(
    database_url: Annotated[str, typer.Option(envvar="BINDERY_DATABASE_URL", help="The database's DSN.")],
) -> None:
    """Apply the missing migrations; safe to run twice and by two at once."""
    from psycopg import Error, ProgrammingError

    from infra.local.database import MIGRATIONS
    from shared.adapters.postgres.migrations import migrate as apply

    try:
        applied = apply(database_url, MIGRATIONS)
    except ProgrammingError:
        # It may quote the DSN, with its password.
        stop("that is not a DSN; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE", USAGE)
    except Error as error:
        stop(f"the database: {type(error).__name__}: {str(error).strip() or 'it gave no reason'}", FAILED)
    print("\n".join(applied) if applied else "up to date")
