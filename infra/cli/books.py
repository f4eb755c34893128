"""Commands on books: see how far they are, search; cancel, resume, retry, share and delete."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from infra.cli import view
from infra.cli.command_name import BINDERY, examples
from infra.cli.context import Context
from infra.cli.dead_letters import show_redrive
from infra.cli.endings import FAILED, say
from infra.cli.identifiers import whole_id, whole_id_or_none
from infra.cli.option_groups import Commands
from infra.cli.watching import watch_book

commands = Commands()

Book = Annotated[str, typer.Argument(help="The book's id, or the beginning of it.")]


def _finish(status: str) -> None:
    if status != "completed":
        raise typer.Exit(FAILED)


@commands.command(epilog=examples(f"{BINDERY} status 0d9c… --json"))
def status(context: Context, book: Book) -> None:
    """Say how far a book is."""
    book_id = whole_id(context.client, "book", book)
    context.show(context.client.get(f"/api/books/{book_id}/status"), view.show_status)


@commands.command(epilog=examples(f"{BINDERY} watch 0d9c…", f"{BINDERY} watch 0d9c… --json | jq .progress"))
def watch(context: Context, book: Book) -> None:
    """Follow a book live until it is done, by a listener on its documents; with --json, a line for each change."""
    book_id = whole_id(context.client, "book", book)
    context.client.get(f"/api/books/{book_id}/status")
    _finish(watch_book(context.client, book_id, context.as_json))


@commands.command(epilog=examples(f"{BINDERY} jobs book-0d9c…-v1"))
def jobs(context: Context, job: Annotated[str, typer.Argument(help="The job's id, or the beginning of it.")]) -> None:
    """Show a job."""
    job_id = whole_id(context.client, "job", job)
    context.show(context.client.get(f"/api/jobs/{job_id}"), _show_job)


def _show_job(job: dict[str, Any]) -> None:
    for name, value in job.items():
        print(f"{name:<15} {'–' if value is None else json.dumps(value) if isinstance(value, dict | list) else value}")


@commands.command(epilog=examples(f"{BINDERY} books --json | jq -r '.books[].book_id'"))
def books(
    context: Context,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 50,
    after: Annotated[str | None, typer.Option(help="The last book of the page before.")] = None,
) -> None:
    """List your books, the newest first."""
    last = whole_id_or_none(context.client, "book", after)
    context.show(context.client.get("/api/books", limit=limit, after=last), _show_books)


def _show_books(reply: Any) -> None:
    for b in reply["books"]:
        print(f"{b['book_id']}  {b['status']:<10} {b['progress']:>3} %  {b['title']}")
    if not reply["books"]:
        say(f"no books yet; import one with `{BINDERY} import FILE`")
    if reply["next"]:
        say(f"more: {BINDERY} books --after {reply['next']}")


@commands.command(
    epilog=examples(
        f"{BINDERY} search 'who stole the letters?'",
        f"{BINDERY} search storm --book 0d9c… -k 10",
    )
)
def search(
    context: Context,
    query: Annotated[str, typer.Argument(help="What to look for, in any words.")],
    book: Annotated[str | None, typer.Option(help="Search in this book only.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=50, help="How many passages.")] = 5,
) -> None:
    """Find passages by meaning and words."""
    book_id = whole_id_or_none(context.client, "book", book)
    reply = context.client.get("/api/search", q=query, book_id=book_id, k=k)
    context.show(reply, view.show_results)


@commands.command(epilog=examples(f"{BINDERY} cancel 0d9c…"))
def cancel(context: Context, book: Book) -> None:
    """End all work on a book; what is done is kept."""
    _control(context, book, "cancel")


@commands.command(epilog=examples(f"{BINDERY} resume 0d9c…"))
def resume(context: Context, book: Book) -> None:
    """Go on with a book that was cancelled."""
    _control(context, book, "resume")


def _control(context: Context, book: str, action: str) -> None:
    book_id = whole_id(context.client, "book", book)
    reply = context.client.post(f"/api/books/{book_id}/{action}", None)
    context.show(reply, lambda done: print(f"book {book_id}: {done['status']}"))


@commands.command(epilog=examples(f"{BINDERY} retry 0d9c… && {BINDERY} watch 0d9c…"))
def retry(context: Context, book: Book) -> None:
    """Do again what failed of a book, and only that."""
    book_id = whole_id(context.client, "book", book)
    show_redrive(context, context.client.post(f"/api/books/{book_id}/retry", None))


@commands.command(epilog=examples(f"{BINDERY} share 0d9c… ben cecilia", f"{BINDERY} share 0d9c…  # with nobody"))
def share(
    context: Context,
    book: Book,
    readers: Annotated[list[str] | None, typer.Argument(help="Ids of all users who may read it beside you.")] = None,
) -> None:
    """Let these users, and no others, read and search a book, and watch it."""
    book_id = whole_id(context.client, "book", book)
    reply = context.client.put(f"/api/books/{book_id}/readers", {"readers": readers or []})
    context.show(reply, lambda done: print(f"book {book_id}: read by {', '.join(done['readers']) or 'you alone'}"))


@commands.command(epilog=examples(f"{BINDERY} delete 0d9c… --yes"))
def delete(
    context: Context, book: Book, yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False
) -> None:
    """Delete a book for good: text, vectors, jobs and live documents."""
    book_id = whole_id(context.client, "book", book)
    known = context.client.get(f"/api/books/{book_id}/status")
    if not yes:
        typer.confirm(f"Delete book {book_id} (version {known['version']}) for good?", abort=True)
    context.client.delete(f"/api/books/{book_id}")
    context.show({"deleted": book_id}, lambda _: print(f"book {book_id}: deleted"))
