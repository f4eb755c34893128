"""What owners and operators do: cancel, resume, retry, delete; replays; snapshots; projections."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli import view
from infra.cli.client import Client
from infra.cli.dead_letters import letters, show_redrive
from infra.cli.options import DATA, FAILED, USAGE, DataDir, Json, Token, Url, connect, moment, print_json, say, stop

snapshots = typer.Typer(no_args_is_help=True, help="Snapshots of the queues, to replay from.")

_POLL_SECONDS, _QUIET_POLLS, _SILENT_POLLS = 0.5, 6, 20


def add_operations(app: typer.Typer) -> None:
    for action in (cancel, resume, retry, delete, replay, receipt, project):
        app.command(epilog=_EXAMPLES[action.__name__])(action)
    app.add_typer(letters, name="dead-letters")
    app.add_typer(snapshots, name="snapshot")


_EXAMPLES = {
    "cancel": "Example: `bindery cancel 0d9c…`",
    "resume": "Example: `bindery resume 0d9c…`",
    "retry": "Example: `bindery retry 0d9c… && bindery watch 0d9c…`",
    "delete": "Example: `bindery delete 0d9c… --yes`",
    "replay": "Examples:\n\n- `bindery replay chapter-processing --since 2h --dry-run`\n\n"
    "- `bindery replay embedding-generation --book 0d9c…`\n\n- `bindery replay book-processing --snapshot before-v2`",
    "receipt": "Example: `bindery receipt 5b1e…`",
    "project": "Examples:\n\n- `bindery project --all`\n\n- `bindery project --book 0d9c…`",
}


def _control(book: str, action: str, url: str | None, token: str | None, data_dir: Path, as_json: bool) -> None:
    reply = connect(url, token, None, data_dir).post(f"/api/books/{book}/{action}", None)
    print_json(reply) if as_json else print(f"book {book}: {reply['status']}")


def cancel(book: str, url: Url = None, token: Token = None, data_dir: DataDir = DATA, as_json: Json = False) -> None:
    """End all work on a book; what is done is kept."""
    _control(book, "cancel", url, token, data_dir, as_json)


def resume(book: str, url: Url = None, token: Token = None, data_dir: DataDir = DATA, as_json: Json = False) -> None:
    """Go on with a book that was cancelled."""
    _control(book, "resume", url, token, data_dir, as_json)


def retry(book: str, url: Url = None, token: Token = None, data_dir: DataDir = DATA, as_json: Json = False) -> None:
    """Do again what failed of a book, and only that."""
    show_redrive(connect(url, token, None, data_dir).post(f"/api/books/{book}/retry", None), as_json)


def delete(
    book: str,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Delete a book for good: text, vectors, jobs and live documents."""
    client = connect(url, token, None, data_dir)
    title = client.get(f"/api/books/{book}/status")
    if not yes:
        typer.confirm(f"Delete book {book} (version {title['version']}) for good?", abort=True)
    client.delete(f"/api/books/{book}")
    print_json({"deleted": book}) if as_json else print(f"book {book}: deleted")


def replay(
    stage: Annotated[str, typer.Argument(help="A topic's name, as chapter-processing.")],
    since: Annotated[str | None, typer.Option(help="All that was published since: 30m, 2h, 7d, or a time.")] = None,
    snapshot: Annotated[str | None, typer.Option(help="From this snapshot on.")] = None,
    book: Annotated[str | None, typer.Option(help="This book's, from PostgreSQL.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many messages it would be.")] = False,
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Deliver messages again, and show by a receipt what that changed: nothing."""
    if sum(s is not None for s in (since, snapshot, book)) != 1:
        stop("name one of --since, --snapshot and --book", USAGE)
    client = connect(url, token, None, data_dir)
    body = {"stage": stage, "since": moment(since), "snapshot": snapshot, "book_id": book, "dry_run": dry_run}
    begun = client.post("/api/replays", {k: v for k, v in body.items() if v is not None})
    _show_receipt(begun if dry_run else awaited(client, begun), as_json)


def receipt(replay: str, url: Url = None, token: Token = None, data_dir: DataDir = DATA, as_json: Json = False) -> None:
    """Show what came of a replay so far."""
    _show_receipt(connect(url, token, None, data_dir).get(f"/api/replays/{replay}"), as_json)


def _show_receipt(found: dict[str, Any], as_json: bool) -> None:
    """Ends with FAILED if it changed something, or has not delivered all yet."""
    print_json(found) if as_json else view.show_receipt(found)
    if found["replay_id"] is None:
        return
    if found["messages_redelivered"] < (found["expected"] or 0):
        stop(f"not all is delivered yet; look again with `bindery receipt {found['replay_id']}`", FAILED)
    if found["model_calls"] or found["rows_changed"]:
        raise typer.Exit(FAILED)


def awaited(client: Client, begun: dict[str, Any]) -> dict[str, Any]:
    """The receipt when all is delivered that was expected, or nothing (more) has come for ten (three) seconds."""
    receipt, quiet = begun, 0
    while quiet < (_QUIET_POLLS if receipt["messages_redelivered"] else _SILENT_POLLS):
        before = receipt["messages_redelivered"]
        time.sleep(_POLL_SECONDS)
        receipt = client.get(f"/api/replays/{begun['replay_id']}")
        if receipt["expected"] and receipt["messages_redelivered"] >= receipt["expected"]:
            break
        quiet = quiet + 1 if receipt["messages_redelivered"] == before else 0
    return receipt


@snapshots.command("create", epilog="Example: `bindery snapshot create before-v2`")
def create_snapshot(
    name: str, url: Url = None, token: Token = None, data_dir: DataDir = DATA, as_json: Json = False
) -> None:
    """Keep what every stage's queue holds now, for seven days."""
    reply = connect(url, token, None, data_dir).post("/api/snapshots", {"name": name})
    print_json(reply) if as_json else print(f"snapshot {name}: made")


@snapshots.command("list", epilog="Example: `bindery snapshot list`")
def list_snapshots(url: Url = None, token: Token = None, data_dir: DataDir = DATA, as_json: Json = False) -> None:
    """List the snapshots."""
    reply = connect(url, token, None, data_dir).get("/api/snapshots")
    if as_json:
        print_json(reply)
        return
    for entry in reply["snapshots"]:
        print(f"{entry['name']}  {len(entry['stages'])} stages, until {entry['expires_at']}")


@snapshots.command("delete", epilog="Example: `bindery snapshot delete before-v2`")
def delete_snapshot(
    name: str, url: Url = None, token: Token = None, data_dir: DataDir = DATA, as_json: Json = False
) -> None:
    """Delete a snapshot."""
    connect(url, token, None, data_dir).delete(f"/api/snapshots/{name}")
    print_json({"deleted": name}) if as_json else print(f"snapshot {name}: deleted")


def project(
    book: Annotated[str | None, typer.Option(help="This book's documents.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All documents of all books.")] = False,
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Write live documents anew from PostgreSQL: after Firestore lost them."""
    if everything == (book is not None):
        stop("name one of --all and --book", USAGE)
    client = connect(url, token, None, data_dir)
    books = client.post("/api/projections", {"book_id": book} if book else {})["books"]
    written = 0
    while True:
        reply = client.post("/api/projections/next", None)
        written += reply["projected"]
        if not as_json:
            say(f"{written} written, {reply['left']} left")
        if not reply["left"]:
            break
        if not reply["projected"]:
            stop(f"{reply['left']} documents could not be written; `reconcile` goes on with them", FAILED)
    print_json({"books": books, "documents": written}) if as_json else print(f"{books} books, {written} documents")
