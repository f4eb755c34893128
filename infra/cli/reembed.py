"""The command that moves books to another embedding model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from infra.cli.client import Client
from infra.cli.command_name import BINDERY, examples
from infra.cli.context import Context
from infra.cli.endings import FAILED, USAGE, say, stop
from infra.cli.identifiers import whole_id_or_none
from infra.cli.option_groups import Commands

commands = Commands()

_POLL_SECONDS = 2.0
_COUNTS = ("done", "under_way", "left", "failed", "skipped")


@dataclass(frozen=True, kw_only=True)
class Which:
    """Of which books."""

    book: Annotated[str | None, typer.Option(help="Only this book.")] = None
    owner: Annotated[str | None, typer.Option(help="Only the books of this user.")] = None

    def query(self, client: Client) -> dict[str, str]:
        named = {"book_id": whole_id_or_none(client, "book", self.book), "owner_uid": self.owner}
        return {name: value for name, value in named.items() if value is not None}


@commands.command(
    epilog=examples(
        f"{BINDERY} reembed --dry-run",
        f"{BINDERY} reembed --book 0d9c… --yes",
        f"{BINDERY} reembed --status",
        f"{BINDERY} reembed --stop",
    )
)
def reembed(
    context: Context,
    which: Which,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it takes.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only say how far it is.")] = False,
    stopping: Annotated[bool, typer.Option("--stop", help="Begin no more books; those under way go on.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Move books whose vectors are of another model to the embedding model that is configured, and show how far it is.

    It goes on without this command, by `reconcile`; a second call goes on with the first.
    """
    if sum((dry_run, status, stopping)) > 1:
        stop("name one of --dry-run, --status and --stop", USAGE)
    if status or stopping:
        if which != Which():
            stop("--status and --stop are of all that was asked for: leave out --book and --owner", USAGE)
        client = context.client
        found = client.post("/api/reembeddings/stop", None) if stopping else client.get("/api/reembeddings")
        context.show(found, _show_reembeddings)
        return
    query = which.query(context.client)
    estimate = context.client.get("/api/reembeddings/estimate", **query)
    if dry_run:
        context.show(estimate, _show_estimate)
        return
    if not yes:
        _show_estimate(estimate)
        typer.confirm("Begin?", abort=True)
    _move(context, query)


def _move(context: Context, query: dict[str, str]) -> None:
    """Ends with FAILED if books failed."""
    wish = context.client.post("/api/reembeddings", query)
    while wish["stopped_at"] is None and (wish["left"] or wish["under_way"]):
        if not context.as_json:
            say(_counts(wish))
        time.sleep(_POLL_SECONDS)
        context.client.post("/api/reembeddings/next", None)
        wish = context.client.get(f"/api/reembeddings/{wish['reembedding_id']}")
    context.show(wish, lambda w: print(_counts(w)))
    if wish["failed"]:
        stop(f"{wish['failed']} books failed: `{BINDERY} dead-letters groups` says why", FAILED)


def _show_estimate(estimate: Any) -> None:
    for name, model in (("to", estimate["model"]), *(("from", m) for m in estimate["leaving"])):
        books = f", {model['books']} books" if "books" in model else ""
        print(f"{name:<9} {model['name']} (version {model['version']}){books}")
    about = "about " if estimate["is_extrapolated"] else ""
    print(f"books     {estimate['books']}, with {estimate['chapters']} chapters")
    print(f"passages  {about}{estimate['passages']}, at most; about {estimate['tokens']} tokens")
    print(f"requests  {about}{estimate['requests']} to the embedding model")
    if estimate["generating_requests"]:
        print(f"          {estimate['generating_requests']} to the generating model: metadata that failed before")


def _show_reembeddings(reply: Any) -> None:
    for w in reply["reembeddings"]:
        ended = "stopped" if w["stopped_at"] else "finished" if w["finished_at"] else "open"
        print(f"{_books(w)} to {w['model']['name']} (version {w['model']['version']}), {ended}: {_counts(w)}")
    if not reply["reembeddings"]:
        say(f"nothing was asked for yet; `{BINDERY} reembed --dry-run` says what it would take")


def _books(wish: Any) -> str:
    if wish["book_id"]:
        return f"book {wish['book_id']}"
    return f"books of {wish['owner_uid']}" if wish["owner_uid"] else "all books"


def _counts(wish: Any) -> str:
    return ", ".join(f"{wish[name]} {name.replace('_', ' ')}" for name in _COUNTS)
