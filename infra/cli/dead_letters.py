"""`bindery dead-letters`: jobs that failed for good."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from infra.cli import view
from infra.cli.options import DATA, USAGE, DataDir, Json, Token, Url, connect, moment, print_json, stop

letters = typer.Typer(no_args_is_help=True, help="Jobs that failed for good: look, redrive, discard.")

Stage = Annotated[str | None, typer.Option("--stage", help="Of this stage (a topic's name).")]
Book = Annotated[str | None, typer.Option("--book", help="Of this book.")]
Fingerprint = Annotated[str | None, typer.Option("--fingerprint", help="Of this cause.")]
Since = Annotated[str | None, typer.Option("--since", help="Last seen since: 30m, 2h, 7d, or a time in ISO 8601.")]
Until = Annotated[str | None, typer.Option("--until", help="Last seen before: 30m, 2h, 7d ago, or a time.")]
Ids = Annotated[list[int] | None, typer.Argument(help="Dead letters, by their numbers.")]
All = Annotated[bool, typer.Option("--all", help="All that are open.")]


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
        reply["dead_letters"], "{dead_letter_id:>5}  {stage:<24} {fingerprint}  {times:>3}×, last {last_seen}"
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
    show_redrive(connect(url, token, None, data_dir).post("/api/dead-letters/redrive", body), as_json, canary)


@letters.command("batch", epilog="Example: `bindery dead-letters batch 7c1e…`")
def show_batch(
    batch: str, url: Url = None, token: Token = None, data_dir: DataDir = DATA, as_json: Json = False
) -> None:
    """Show how a redrive goes: how many of its letters wait, were sent, succeeded, failed."""
    reply = connect(url, token, None, data_dir).get(f"/api/dead-letters/redrives/{batch}")
    print_json(reply) if as_json else view.show_batch(reply)


@letters.command("stop", epilog="Example: `bindery dead-letters stop 7c1e…`")
def stop_batch(
    batch: str, url: Url = None, token: Token = None, data_dir: DataDir = DATA, as_json: Json = False
) -> None:
    """Send no more of a redrive; what was not sent stays open."""
    reply = connect(url, token, None, data_dir).post(f"/api/dead-letters/redrives/{batch}/stop", None)
    print_json(reply) if as_json else print(f"stopped: {reply['stopped']}")


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


def _choice(
    ids: list[int] | None, stage: str | None, book: str | None, cause: str | None, since: str | None, everything: bool
) -> dict[str, Any]:
    named = {"ids": ids or None, "stage": stage, "book_id": book, "fingerprint": cause, "since": moment(since)}
    chosen = {k: v for k, v in named.items() if v is not None}
    if not chosen and not everything:
        stop("choose by numbers, --stage, --book, --fingerprint or --since, or say --all", USAGE)
    return chosen | ({"all": True} if everything else {})


def show_redrive(reply: dict[str, Any], as_json: bool, canary: bool = False) -> None:
    if as_json:
        print_json(reply)
        return
    print(f"accepted: {len(reply['accepted'])}")
    if reply["accepted"]:
        print(f"batch: {reply['batch_id']}")
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
