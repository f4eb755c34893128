"""Commands of operators: replays, snapshots, projections."""

from __future__ import annotations

import time
from typing import Annotated, Any
from urllib.parse import quote

import typer

from infra.cli import view
from infra.cli.client import Client
from infra.cli.command_name import BINDERY, examples
from infra.cli.context import Context
from infra.cli.endings import FAILED, USAGE, say, stop
from infra.cli.identifiers import whole_id, whole_id_or_none
from infra.cli.moments import moment
from infra.cli.option_groups import Commands

commands = Commands()
snapshots = Commands(no_args_is_help=True, help="Snapshots of the queues, to replay from.")

_POLL_SECONDS, _QUIET_POLLS, _SILENT_POLLS = 0.5, 6, 20

Name = Annotated[str, typer.Argument(help="The snapshot's name: lower-case letters, digits and hyphens.")]


@commands.command(
    epilog=examples(
        f"{BINDERY} replay chapter-processing --since 2h --dry-run",
        f"{BINDERY} replay embedding-generation --book 0d9c…",
        f"{BINDERY} replay book-processing --snapshot before-v2",
    )
)
def replay(
    context: Context,
    stage: Annotated[str, typer.Argument(help="A topic's name, as chapter-processing.")],
    since: Annotated[str | None, typer.Option(help="All that was published since: 30m, 2h, 7d, or a time.")] = None,
    snapshot: Annotated[str | None, typer.Option(help="From this snapshot on.")] = None,
    book: Annotated[str | None, typer.Option(help="This book's, from PostgreSQL.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many messages it would be.")] = False,
) -> None:
    """Deliver messages again, and show by a receipt what that changed: nothing."""
    if sum(s is not None for s in (since, snapshot, book)) != 1:
        stop("name one of --since, --snapshot and --book", USAGE)
    body: dict[str, Any] = {"stage": stage, "since": moment(since), "snapshot": snapshot, "dry_run": dry_run}
    body |= {"book_id": whole_id_or_none(context.client, "book", book)}
    begun = context.client.post("/api/replays", {k: v for k, v in body.items() if v is not None})
    _show_receipt(context, begun if dry_run else awaited(context.client, begun))


@commands.command(epilog=examples(f"{BINDERY} receipt 5b1e…"))
def receipt(
    context: Context, replay: Annotated[str, typer.Argument(help="The replay's id, or the beginning of it.")]
) -> None:
    """Show what came of a replay so far."""
    replay_id = whole_id(context.client, "replay", replay)
    _show_receipt(context, context.client.get(f"/api/replays/{replay_id}"))


def _show_receipt(context: Context, found: dict[str, Any]) -> None:
    """Ends with FAILED if it changed something, or has not delivered all yet."""
    context.show(found, view.show_receipt)
    if found["replay_id"] is None:
        return
    if found["messages_redelivered"] < (found["expected"] or 0):
        stop(f"not all is delivered yet; look again with `{BINDERY} receipt {found['replay_id']}`", FAILED)
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


@snapshots.command("create", epilog=examples(f"{BINDERY} snapshot create before-v2"))
def create_snapshot(context: Context, name: Name) -> None:
    """Keep what every stage's queue holds now, for seven days."""
    reply = context.client.post("/api/snapshots", {"name": name})
    context.show(reply, lambda _: print(f"snapshot {name}: made"))


@snapshots.command("list", epilog=examples(f"{BINDERY} snapshot list"))
def list_snapshots(context: Context) -> None:
    """List the snapshots."""
    context.show(context.client.get("/api/snapshots"), _show_snapshots)


def _show_snapshots(reply: Any) -> None:
    for entry in reply["snapshots"]:
        print(f"{entry['name']}  {len(entry['stages'])} stages, until {view.plain(entry['expires_at'])}")
    if not reply["snapshots"]:
        say("there are no snapshots")


@snapshots.command("delete", epilog=examples(f"{BINDERY} snapshot delete before-v2"))
def delete_snapshot(context: Context, name: Name) -> None:
    """Delete a snapshot."""
    context.client.delete(f"/api/snapshots/{quote(name, safe='')}")
    context.show({"deleted": name}, lambda _: print(f"snapshot {name}: deleted"))


@commands.command(epilog=examples(f"{BINDERY} project --all", f"{BINDERY} project --book 0d9c…"))
def project(
    context: Context,
    book: Annotated[str | None, typer.Option(help="This book's documents.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All documents of all books.")] = False,
) -> None:
    """Write live documents anew from PostgreSQL: after Firestore lost them."""
    if everything == (book is not None):
        stop("name one of --all and --book", USAGE)
    book_id = whole_id_or_none(context.client, "book", book)
    books = context.client.post("/api/projections", {"book_id": book_id} if book_id else {})["books"]
    _write_all(context, books)


@commands.command(epilog=examples(f"{BINDERY} restored"))
def restored(context: Context) -> None:
    """Bring live documents into line after PostgreSQL was restored from a backup."""
    _write_all(context, context.client.post("/api/restores", None)["books"])


def _write_all(context: Context, books: int) -> None:
    """Write, and after a restore delete, until nothing is left to do."""
    written = deleted = 0
    while True:
        reply = context.client.post("/api/projections/next", None)
        written += reply["projected"]
        deleted += reply["deleted"]
        if not context.as_json:
            say(f"{written} written, {reply['left']} left" + (f", {deleted} deleted" if deleted else ""))
        if reply["is_done"]:
            break
        if not reply["projected"] and not reply["deleted"]:
            stop(f"{reply['left']} documents could not be written; `reconcile` goes on with them", FAILED)
    done = {"books": books, "documents": written, "deleted": deleted}
    context.show(done, lambda _: print(f"{books} books, {written} documents" + f", {deleted} deleted" * bool(deleted)))
