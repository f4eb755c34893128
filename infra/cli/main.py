"""`bindery`: the local stack, and Bindery's API from a terminal."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli import view
from infra.cli.client import ApiError, Client, ListenFailed
from infra.cli.operations import add_operations
from infra.cli.options import (
    DATA,
    FAILED,
    UNREACHABLE,
    USAGE,
    DataDir,
    Json,
    Project,
    Token,
    Url,
    connect,
    print_json,
    say,
    stop,
)
from infra.cli.watching import watch_book
from infra.local.postgres import AlreadyRunning
from infra.local.processes import StartFailed
from infra.local.stack import Backend, NoEmulators, run_stack, running_stack
from shared.config import ConfigError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Turns a manuscript into a book that software can use.",
    epilog="Exit codes: 0 done, 1 failed, 2 asked wrongly, 3 nobody answered.",
)

Which = Annotated[str, typer.Option("--backend", help="auto, emulators or embedded.", metavar="BACKEND")]


def _backend(name: str) -> Backend:
    if name not in ("auto", "emulators", "embedded"):
        raise typer.BadParameter("choose auto, emulators or embedded", param_hint="--backend")
    return name  # type: ignore[return-value]


def _read(file: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as error:
        stop(f"{file}: {error.strerror}", USAGE)
    except UnicodeDecodeError as error:
        stop(f"{file} is not UTF-8 text (byte {error.start}); only text and Markdown can be imported yet", USAGE)


def _title(file: str, content: str) -> str:
    """A Markdown book's own title, else the file's name."""
    first = next((line for line in content.splitlines() if line.strip()), "")
    if first.startswith("# "):
        return first[2:].strip()
    return "Untitled" if file == "-" else Path(file).stem.replace("-", " ").replace("_", " ").title()


@contextmanager
def _stack(data_dir: Path, backend: Backend, quiet: bool = True) -> Iterator[Client]:
    """The stack that runs on the data folder, or one that lives as long as this."""
    running = running_stack(data_dir)
    if running:
        say(f"using the stack that runs on {data_dir}")
        yield Client(url=running["BINDERY_URL"], environment=running)
        return
    log = data_dir / "stack.log"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        stop(f"{data_dir}: {error.strerror}", USAGE)
    with log.open("a") as out:
        with _stdlog(out), run_stack(data_dir, backend, lambda name, line: _log(out, name, line)) as stack:
            say(f"{stack.backend} backend, since {stack.because}; log: {log}")
            yield Client(url=stack.url, environment=stack.environment)


def _log(out: Any, name: str, line: str) -> None:
    out.write(f"{name:<20} {line}\n")
    out.flush()


@contextmanager
def _stdlog(out: Any) -> Iterator[None]:
    """The embedded functions log to this process's standard error: to the log instead."""
    from shared.log import configure_logging

    configure_logging("info", out)
    yield


@app.command(
    epilog="Examples:\n\n- `bindery demo`\n\n- `bindery demo novel.txt --query 'who stole the letters?'`\n\n"
    "- `bindery demo --json | jq .summary`"
)
def demo(
    file: Annotated[str | None, typer.Argument(help="A text or Markdown file; without it, a sample.")] = None,
    query: Annotated[str | None, typer.Option(help="What to search for when it is done.")] = None,
    backend: Which = "auto",
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Import a book on a stack of its own, watch it, and search in it."""
    from infra.cli.demo import run_demo

    content = _read(file) if file else None
    title = _title(file, content) if file and content is not None else None
    with _stack(data_dir, _backend(backend)) as client:
        result = run_demo(client, content, title, query, as_json)
    if as_json:
        print_json(result)
    if result["status"] != "completed":
        raise typer.Exit(FAILED)


@app.command(epilog="Examples:\n\n- `bindery dev`\n\n- `bindery dev --backend embedded --data-dir /tmp/bindery`")
def dev(backend: Which = "auto", data_dir: DataDir = DATA, as_json: Json = False) -> None:
    """Run the local stack until Ctrl-C, with the log lines of all functions."""
    from shared.log import configure_logging

    if running_stack(data_dir):
        stop(f"a stack runs on {data_dir} already; choose another --data-dir", FAILED)
    configure_logging("info")
    with run_stack(data_dir, _backend(backend), lambda name, line: print(f"{name:<20} {line}", flush=True)) as stack:
        if as_json:
            print_json({"backend": stack.backend, "because": stack.because, "environment": dict(stack.environment)})
        else:
            print(f"\nBindery is up: {stack.url}/api/openapi.json")
            print(f"Backend: {stack.backend}, since {stack.because}\n\nFor your app:")
            for name, value in stack.environment.items():
                print(f"  export {name}={value}")
            print(
                f"\nIn another terminal: bindery --help; bindery import FILE --watch (data: {data_dir})\n", flush=True
            )
        _wait_for_a_signal()


def _wait_for_a_signal() -> None:
    """Until a handler raises. Not `signal.pause`: a signal that came just before it would be waited for in vain."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    while True:
        os.read(wake_read, 1)


@app.command(
    "import",
    epilog="Examples:\n\n- `bindery import novel.md --watch`\n\n"
    "- `cat novel.txt | bindery import - --title 'My Novel'`",
)
def import_(
    file: Annotated[str, typer.Argument(help="A text or Markdown file, or - for standard input.")],
    title: Annotated[
        str | None, typer.Option(help="The book's title; else its first heading or the file's name.")
    ] = None,
    google_doc_id: Annotated[
        str | None, typer.Option(help="The same id again imports a new version of that book.")
    ] = None,
    book_id: Annotated[str | None, typer.Option(help="Import a new version of this book.")] = None,
    force: Annotated[bool, typer.Option(help="Compute everything again, even what did not change.")] = False,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key again returns the same book.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it is done.")] = False,
    url: Url = None,
    token: Token = None,
    project: Project = None,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Import a manuscript."""
    content = _read(file)
    client = connect(url, token, project, data_dir)
    body: dict[str, Any] = {"title": title or _title(file, content), "content": content, "force": force}
    body |= {k: v for k, v in (("google_doc_id", google_doc_id), ("book_id", book_id)) if v}
    reply = client.post("/api/books/import", body, {"Idempotency-Key": idempotency_key} if idempotency_key else None)
    if as_json:
        print_json(reply)
    else:
        print(f"book {reply['book_id']}\njob  {reply['job_id']}")
        if not reply["published"]:
            say("the queue can't be reached; the book is kept, and work begins when it can")
    if watch:
        _finish(watch_book(client, reply["book_id"], as_json))


def _finish(status: str) -> None:
    if status != "completed":
        raise typer.Exit(FAILED)


@app.command(epilog="Example: `bindery status 0d9c… --json`")
def status(book: str, url: Url = None, token: Token = None, data_dir: DataDir = DATA, as_json: Json = False) -> None:
    """Say how far a book is."""
    reply = connect(url, token, None, data_dir).get(f"/api/books/{book}/status")
    print_json(reply) if as_json else view.show_status(reply)


@app.command(epilog="Example: `bindery watch 0d9c…`; with --json, a line for each change.")
def watch(
    book: str,
    url: Url = None,
    token: Token = None,
    project: Project = None,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Follow a book live until it is done, by a listener on its documents."""
    client = connect(url, token, project, data_dir)
    client.get(f"/api/books/{book}/status")
    _finish(watch_book(client, book, as_json))


@app.command(epilog="Example: `bindery jobs book-0d9c…-v1`")
def jobs(job: str, url: Url = None, token: Token = None, data_dir: DataDir = DATA, as_json: Json = False) -> None:
    """Show a job."""
    reply = connect(url, token, None, data_dir).get(f"/api/jobs/{job}")
    if as_json:
        print_json(reply)
        return
    for name, value in reply.items():
        print(f"{name:<14} {json.dumps(value) if isinstance(value, dict) else value}")


@app.command(epilog="Example: `bindery books --json | jq -r '.books[].book_id'`")
def books(
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    after: Annotated[str | None, typer.Option(help="The last book of the page before.")] = None,
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """List your books, the newest first."""
    reply = connect(url, token, None, data_dir).get("/api/books", limit=limit, after=after)
    if as_json:
        print_json(reply)
        return
    for b in reply["books"]:
        print(f"{b['book_id']}  {b['status']:<10} {b['progress']:>3} %  {b['title']}")
    if reply["next"]:
        print(f"more: bindery books --after {reply['next']}")


@app.command(
    epilog="Examples:\n\n- `bindery search 'who stole the letters?'`\n\n- `bindery search storm --book 0d9c… -k 10`"
)
def search(
    query: str,
    book: Annotated[str | None, typer.Option(help="Search in this book only.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=50, help="How many passages.")] = 5,
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Find passages by meaning and words."""
    reply = connect(url, token, None, data_dir).get("/api/search", q=query, book_id=book, k=k)
    print_json(reply) if as_json else view.show_results(query, reply["results"])


add_operations(app)


@app.command(epilog="Example: `BINDERY_DATABASE_URL=postgresql://… bindery migrate`")
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
        stop("the database's DSN is none: postgresql://USER:PASSWORD@HOST:PORT/DATABASE", USAGE)
    except Error as error:
        stop(f"the database: {type(error).__name__}: {str(error).strip() or 'no more is known'}", FAILED)
    print("\n".join(applied) if applied else "up to date")


def main() -> None:
    """The entry point: errors are said in a line, without a traceback."""
    from shared.domain.errors import Unavailable

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` stops the stack as Ctrl-C does
    try:
        app(standalone_mode=True)
    except ApiError as error:
        say(f"bindery: {error}")
        code = UNREACHABLE if error.status in (0, 503) else FAILED
    except (NoEmulators, AlreadyRunning, StartFailed, ConfigError, ListenFailed, Unavailable) as error:
        say(f"bindery: {error}")
        code = FAILED
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
