"""`bindery dead-letters`: jobs that failed for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from infra.cli import view
from infra.cli.client import Client
from infra.cli.command_name import BINDERY, examples
from infra.cli.context import Context
from infra.cli.endings import FAILED, USAGE, say, stop
from infra.cli.identifiers import whole_id, whole_id_or_none
from infra.cli.moments import moment
from infra.cli.option_groups import Commands

letters = Commands(no_args_is_help=True, help="Jobs that failed for good: look, redrive, discard.")

_NOTHING = "no open dead letter matches"

Number = Annotated[int, typer.Argument(help="The dead letter's number.")]
Numbers = Annotated[list[int] | None, typer.Argument(help="Dead letters, by their numbers.")]
All = Annotated[bool, typer.Option("--all", help="All that are open.")]
Batch = Annotated[str, typer.Argument(help="The redrive's id, or the beginning of it.")]


@dataclass(frozen=True, kw_only=True)
class Filter:
    """The options by which dead letters are chosen."""

    stage: Annotated[str | None, typer.Option("--stage", help="Of this stage (a topic's name).")] = None
    book: Annotated[str | None, typer.Option("--book", help="Of this book.")] = None
    fingerprint: Annotated[str | None, typer.Option("--fingerprint", help="Of this cause.")] = None
    since: Annotated[
        str | None, typer.Option("--since", help="Last seen since: 30m, 2h, 7d, or a time in ISO 8601.")
    ] = None
    until: Annotated[str | None, typer.Option("--until", help="Last seen before: 30m, 2h, 7d ago, or a time.")] = None

    def chosen(self, client: Client) -> dict[str, Any]:
        """As the API takes it, without what was not asked for. Raises ApiError."""
        wanted = {
            "stage": self.stage,
            "since": moment(self.since),
            "until": moment(self.until),
            "book_id": whole_id_or_none(client, "book", self.book),
            "fingerprint": whole_id_or_none(client, "fingerprint", self.fingerprint),
        }
        return {name: value for name, value in wanted.items() if value is not None}

    @property
    def is_empty(self) -> bool:
        return all(v is None for v in (self.stage, self.book, self.fingerprint, self.since, self.until))


@letters.command("list", epilog=examples(f"{BINDERY} dead-letters list --stage chapter-processing --since 1d"))
def list_letters(
    context: Context,
    of: Filter,
    state: Annotated[str, typer.Option(help="open, redriven, resolved or discarded.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most.")] = 50,
    after: Annotated[int | None, typer.Option(min=1, help="The last one of the page before.")] = None,
) -> None:
    """List dead letters, the newest first."""
    query = {**of.chosen(context.client), "state": state, "limit": limit, "after": after}
    context.show(context.client.get("/api/dead-letters", **query), _show_letters)


def _show_letters(reply: Any) -> None:
    _print_causes(
        reply["dead_letters"], "{dead_letter_id:>5}  {stage:<24} {fingerprint}  {times:>3}×, last {last_seen}"
    )
    if reply["next"]:
        say(f"more: {BINDERY} dead-letters list --after {reply['next']}")


@letters.command(
    "groups", epilog=examples(f"{BINDERY} dead-letters groups", f"{BINDERY} dead-letters groups --since 1d")
)
def group_letters(context: Context, of: Filter) -> None:
    """Open dead letters by their cause, the most frequent first."""
    reply = context.client.get("/api/dead-letters/groups", **of.chosen(context.client))
    line = "{dead_letters:>5}  {stage:<24} {fingerprint}  {books:>3} books, last {last_seen}"
    context.show(reply, lambda found: _print_causes(found["groups"], line))


@letters.command("show", epilog=examples(f"{BINDERY} dead-letters show 17"))
def show_letter(context: Context, number: Number) -> None:
    """Show a dead letter: its attempts, its payload, its traceback, and what was done about it."""
    context.show(context.client.get(f"/api/dead-letters/{number}"), view.show_letter)


@letters.command(
    "redrive",
    epilog=examples(
        f"{BINDERY} dead-letters redrive 17",
        f"{BINDERY} dead-letters redrive --fingerprint 3f2a… --canary",
        f"{BINDERY} dead-letters redrive --all --per-minute 60",
    ),
)
def redrive_letters(
    context: Context,
    of: Filter,
    ids: Numbers = None,
    everything: All = False,
    canary: Annotated[bool, typer.Option("--canary", help="One first; the rest only if it succeeds.")] = False,
    per_minute: Annotated[int, typer.Option(min=1, max=500, help="How many are sent in a minute.")] = 300,
) -> None:
    """Give dead letters another chance."""
    body = _chosen(context, of, ids, everything) | {"canary": canary, "per_minute": per_minute}
    show_redrive(context, context.client.post("/api/dead-letters/redrive", body), canary)


def show_redrive(context: Context, reply: dict[str, Any], canary: bool = False) -> None:
    """Ends with FAILED if nothing is tried again."""
    context.show(reply, lambda redrive: _print_redrive(redrive, canary))
    if not reply["accepted"]:
        stop("none of them can be redriven" if reply["refused"] else _NOTHING, FAILED)


def _print_redrive(redrive: Any, canary: bool) -> None:
    accepted = len(redrive["accepted"])
    if accepted:
        print(f"accepted: {accepted}\nbatch: {redrive['batch_id']}")
    if canary and accepted > 1:
        print("one is sent now; the others follow within a minute of its success")
    for refused in redrive["refused"]:
        print(f"refused: {refused['dead_letter_id']}: {refused['reason']}")


@letters.command("batch", epilog=examples(f"{BINDERY} dead-letters batch 7c1e…"))
def show_batch(context: Context, batch: Batch) -> None:
    """Show how a redrive goes: how many of its dead letters wait, were sent, succeeded, failed."""
    batch_id = whole_id(context.client, "redrive", batch)
    context.show(context.client.get(f"/api/dead-letters/redrives/{batch_id}"), view.show_batch)


@letters.command("stop", epilog=examples(f"{BINDERY} dead-letters stop 7c1e…"))
def stop_batch(context: Context, batch: Batch) -> None:
    """Send no more of a redrive; what was not sent stays open."""
    batch_id = whole_id(context.client, "redrive", batch)
    reply = context.client.post(f"/api/dead-letters/redrives/{batch_id}/stop", None)
    context.show(reply, lambda done: print(f"stopped: {done['stopped']}"))


@letters.command("discard", epilog=examples(f"{BINDERY} dead-letters discard 17 --reason 'the publisher withdrew it'"))
def discard_letters(
    context: Context,
    of: Filter,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    ids: Numbers = None,
    everything: All = False,
) -> None:
    """Give up on dead letters."""
    body = _chosen(context, of, ids, everything) | {"reason": reason}
    reply = context.client.post("/api/dead-letters/discard", body)
    context.show(reply, lambda done: print(f"discarded: {done['discarded']}") if done["discarded"] else None)
    if not reply["discarded"]:
        stop(_NOTHING, FAILED)


def _chosen(context: Context, of: Filter, ids: list[int] | None, everything: bool) -> dict[str, Any]:
    """Ends the command if nothing was chosen: that would be all of them, and nobody said so."""
    if not ids and of.is_empty and not everything:
        stop("choose by numbers, --stage, --book, --fingerprint, --since or --until, or say --all", USAGE)
    return of.chosen(context.client) | ({"ids": ids} if ids else {}) | ({"all": True} if everything else {})


def _print_causes(rows: list[dict[str, Any]], counts: str) -> None:
    """Two lines for each: what is to be copied into the next command, and the cause. `counts` names a format."""
    for row in rows:
        head = counts.format(**{k: view.plain(v) for k, v in row.items()})
        view.console.print(head, highlight=False, markup=False, soft_wrap=True)
        cause = " ".join(view.cause_of(row).split())
        view.console.print(
            f"       {cause}", style="dim", highlight=False, markup=False, no_wrap=True, overflow="ellipsis"
        )
    if not rows:
        print("none")
