"""What owners and operators do: cancel, resume, retry, delete; dead letters; replays; projections."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli import view
from infra.cli.client import Client
from infra.cli.options import DATA, FAILED, USAGE, DataDir, Json, Token, Url, connect, print_json, say, stop

letters = typer.Typer(no_args_is_help=True, help="Jobs that failed for good: look, redrive, discard.")
snapshots = typer.Typer(no_args_is_help=True, help="Snapshots of the queues, to replay from.")

Stage = Annotated[str | None, typer.Option("--stage", help="Of this stage (a topic's name).")]
Book = Annotated[str | None, typer.Option("--book", help="Of this book.")]
Fingerprint = Annotated[str | None, typer.Option("--fingerprint", help="Of this cause.")]
Since = Annotated[str | None, typer.Option("--since", help="Last seen since: 30m, 2h, 7d, or a time in ISO 8601.")]
Until = Annotated[str | None, typer.Option("--until", help="Last seen before: 30m, 2h, 7d ago, or a time.")]
Ids = Annotated[list[int] | None, typer.Argument(help="Dead letters, by their numbers.")]
All = Annotated[bool, typer.Option("--all", help="All that are open.")]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_POLL_SECONDS, _QUIET_POLLS = 0.5, 6


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


def moment(text: str | None) -> str | None:
    """A time as the API takes it, from `2h` or ISO 8601. Raises typer.BadParameter."""
    if text is None:
        return None
    if found := re.fullmatch(r"(\d+)([smhd])", text):
        return (datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: int(found[1])})).isoformat()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither like 30m, 2h, 7d nor a time in ISO 8601") from None
    return (at if at.tzinfo else at.astimezone()).isoformat()


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
    _show_redrive(connect(url, token, None, data_dir).post(f"/api/books/{book}/retry", None), as_json)


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


@letters.command("list", epilog="Example: `bindery dead-letters list --stage chapter-processing --since 1d`")
def list_letters(
    stage: Stage = None,
    book: Book = None,
    fingerprint: Fingerprint = None,
    since: Since = None,
    until: Until = None,
    state: Annotated[str, typer.Option(help="open, redriven, resolved or discarded.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    after: Annotated[int | None, typer.Option(help="The last one of the page before.")] = None,
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """List dead letters, the newest first."""
    query = {"stage": stage, "book_id": book, "fingerprint": fingerprint, "state": state, "limit": limit}
    query |= {"after": after, "since": moment(since), "until": moment(until)}
    reply = connect(url, token, None, data_dir).get("/api/dead-letters", **query)
    if as_json:
        print_json(reply)
        return
    _print_causes(
        reply["dead_letters"], "{dead_letter_id:>5}  {stage:<24} {fingerprint}  {times:>3} times, last {last_seen}"
    )
    if reply["next"]:
        print(f"more: bindery dead-letters list --after {reply['next']}")


@letters.command("groups", epilog="Example: `bindery dead-letters groups`")
def group_letters(
    url: Url = None, token: Token = None, data_dir: DataDir = DATA, as_json: Json = False, since: Since = None
) -> None:
    """Open dead letters by their cause, the most frequent first."""
    reply = connect(url, token, None, data_dir).get("/api/dead-letters/groups", since=moment(since))
    if as_json:
        print_json(reply)
        return
    _print_causes(reply["groups"], "{letters:>5}  {stage:<24} {fingerprint}  {books:>3} books, last {last_seen}")


@letters.command("show", epilog="Example: `bindery dead-letters show 17`")
def show_letter(
    number: int, url: Url = None, token: Token = None, data_dir: DataDir = DATA, as_json: Json = False
) -> None:
    """Show a dead letter: its attempts, its payload, its traceback, and what was done about it."""
    reply = connect(url, token, None, data_dir).get(f"/api/dead-letters/{number}")
    print_json(reply) if as_json else view.show_letter(reply)


@letters.command(
    "redrive",
    epilog="Examples:\n\n- `bindery dead-letters redrive 17`\n\n"
    "- `bindery dead-letters redrive --fingerprint 3f2a… --canary`\n\n"
    "- `bindery dead-letters redrive --all --per-minute 60`",
)
def redrive_letters(
    ids: Ids = None,
    stage: Stage = None,
    book: Book = None,
    fingerprint: Fingerprint = None,
    since: Since = None,
    everything: All = False,
    canary: Annotated[bool, typer.Option("--canary", help="One first; the rest only if it succeeds.")] = False,
    per_minute: Annotated[int, typer.Option(min=1, max=500, help="How many are sent in a minute.")] = 300,
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Give dead letters another chance."""
    body = _choice(ids, stage, book, fingerprint, since, everything) | {"canary": canary, "per_minute": per_minute}
    _show_redrive(connect(url, token, None, data_dir).post("/api/dead-letters/redrive", body), as_json, canary)


@letters.command("discard", epilog="Example: `bindery dead-letters discard 17 --reason 'the publisher withdrew it'`")
def discard_letters(
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    ids: Ids = None,
    stage: Stage = None,
    book: Book = None,
    fingerprint: Fingerprint = None,
    since: Since = None,
    everything: All = False,
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Give up on dead letters."""
    body = _choice(ids, stage, book, fingerprint, since, everything) | {"reason": reason}
    reply = connect(url, token, None, data_dir).post("/api/dead-letters/discard", body)
    print_json(reply) if as_json else print(f"discarded: {reply['discarded']}")


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
    """The receipt when all is delivered that was expected, or nothing more has come for some seconds."""
    receipt, quiet = begun, 0
    while quiet < _QUIET_POLLS:
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


def _choice(
    ids: list[int] | None, stage: str | None, book: str | None, cause: str | None, since: str | None, everything: bool
) -> dict[str, Any]:
    named = {"ids": ids or None, "stage": stage, "book_id": book, "fingerprint": cause, "since": moment(since)}
    chosen = {k: v for k, v in named.items() if v is not None}
    if not chosen and not everything:
        stop("choose by numbers, --stage, --book, --fingerprint or --since, or say --all", USAGE)
    return chosen | ({"all": True} if everything else {})


def _show_redrive(reply: dict[str, Any], as_json: bool, canary: bool = False) -> None:
    if as_json:
        print_json(reply)
        return
    print(f"accepted: {len(reply['accepted'])}")
    if canary and len(reply["accepted"]) > 1:
        print("one is sent now; the others follow within a minute of its success")
    for refused in reply["refused"]:
        print(f"refused: {refused['dead_letter_id']}: {refused['reason']}")


def _print_causes(rows: list[dict[str, Any]], counts: str) -> None:
    """Two lines for each: what is to be copied into the next command, and the cause. `counts` names a format."""
    for row in rows:
        head = counts.format(**{k: view.plain(v) for k, v in row.items()})
        view.console.print(head, highlight=False, markup=False, soft_wrap=True)
        cause = " ".join(f"{row['error_class']}: {row['message']}".split())
        view.console.print(
            f"       {cause}", style="dim", highlight=False, markup=False, no_wrap=True, overflow="ellipsis"
        )
    if not rows:
        print("none")
