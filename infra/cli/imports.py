"""`bindery import`: one manuscript, or many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from infra.cli.bulk_import import title_if_new
from infra.cli.command_name import BINDERY, examples
from infra.cli.context import Context
from infra.cli.endings import FAILED, USAGE, say, stop
from infra.cli.identifiers import whole_id_or_none
from infra.cli.import_many import OfMany, import_many
from infra.cli.import_sources import PLACEHOLDERS, SOURCE_ID
from infra.cli.manuscript import Encoding, read_manuscript, title_of
from infra.cli.manuscript_search import EXTENSIONS, is_for_many
from infra.cli.option_groups import Commands
from infra.cli.watching import watch_book

commands = Commands()


@dataclass(frozen=True, kw_only=True)
class How:
    """What is asked of an import."""

    source_id: Annotated[
        str | None,
        typer.Option(
            help="Your name for the manuscript: the same again imports a new version of its book. Of many files, what"
            f" each is named by: {', '.join(PLACEHOLDERS)}; by default {SOURCE_ID}."
        ),
    ] = None
    readers: Annotated[
        list[str] | None, typer.Option("--reader", metavar="UID", help="A user who may read it beside you.")
    ] = None
    force: Annotated[bool, typer.Option(help="Compute everything again, even what did not change.")] = False
    allow_partial: Annotated[bool, typer.Option(help="Show readers the new version even if chapters of it failed.")] = (
        False
    )
    encoding: Encoding = None

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"force": self.force, "allow_partial": self.allow_partial}
        return body | ({"readers": self.readers} if self.readers else {})


@dataclass(frozen=True, kw_only=True)
class OfOne:
    """What is said of one manuscript."""

    title: Annotated[
        str | None,
        typer.Option(
            help="The title; without it a book keeps its own, and a new one takes its first heading or the file's name."
        ),
    ] = None
    google_doc_id: Annotated[str | None, typer.Option(help="The same id again imports a new version of that book.")] = (
        None
    )
    book_id: Annotated[str | None, typer.Option(help="Import a new version of this book.")] = None
    idempotency_key: Annotated[str | None, typer.Option(help="The same key again returns the same book.")] = None


@commands.command(
    "import",
    epilog=examples(
        f"{BINDERY} import novel.md --watch",
        f"cat novel.txt | {BINDERY} import - --title 'My Novel'",
        f"{BINDERY} import manuscripts/ --jobs 20 --report done.jsonl",
        f"{BINDERY} import manuscripts/ --report done.jsonl --resume",
        f"{BINDERY} import 'drafts/*.md' --source-id 'draft/{{name}}' --reader ben",
    ),
)
def import_(
    context: Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="A text or Markdown file, or - for standard input; or many: files, patterns, and folders, of which all"
            f" files are taken that end in {', '.join(EXTENSIONS)}.",
        ),
    ],
    how: How,
    one: OfOne,
    many: OfMany,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it is done; many always are.")] = False,
) -> None:
    """Import a manuscript; or many, some at a time, each to its end.

    With many, it ends with 1 if one was not imported as a whole, and with 130 if it was interrupted: then it says how
    to go on.
    """
    if len(files) > 1 or many != OfMany() or is_for_many(files[0]):
        if one != OfOne():
            stop("--title, --google-doc-id, --book-id and --idempotency-key are of one file; here are many", USAGE)
        import_many(context, files, how.body, how.source_id or SOURCE_ID, how.encoding, many)
    else:
        _import_one(context, files[0], how, one, watch)


def _import_one(context: Context, file: str, how: How, one: OfOne, watch: bool) -> None:
    content = read_manuscript(file, how.encoding)
    title = one.title
    if title is None and how.source_id is not None:
        title = title_if_new(context.client, how.source_id, file, content)
    elif title is None and one.book_id is None and one.google_doc_id is None:
        title = title_of(file, content)  # else the book keeps the title that it has
    book = whole_id_or_none(context.client, "book", one.book_id)
    named = {"title": title, "google_doc_id": one.google_doc_id, "source_id": how.source_id, "book_id": book}
    body = how.body | {"content": content} | {name: value for name, value in named.items() if value is not None}
    headers = {"Idempotency-Key": one.idempotency_key} if one.idempotency_key is not None else None
    reply = context.client.post("/api/books/import", body, headers)
    context.show(reply, _show_import)
    if watch and watch_book(context.client, reply["book_id"], context.as_json) != "completed":
        raise typer.Exit(FAILED)


def _show_import(reply: Any) -> None:
    print(f"book {reply['book_id']}\njob  {reply['job_id']}", flush=True)
    if not reply["published"]:
        say("the queue can't be reached; the book is kept, and work begins when it can")
