"""Imports many manuscripts: reports on each, shows how far all are, and says how to go on when it is interrupted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli import view
from infra.cli.bulk_import import BulkImport
from infra.cli.bulk_view import BulkProgress, show_summary
from infra.cli.client import ApiError
from infra.cli.command_name import BINDERY
from infra.cli.context import Context
from infra.cli.endings import FAILED, USAGE, say, stop
from infra.cli.import_report import FINE, Entry, Report, read_report
from infra.cli.import_sources import PLACEHOLDERS
from infra.cli.manuscript_search import find_manuscripts
from infra.cli.patience import patience

_JOBS = 8
_LONGEST_COMMAND_SHOWN = 1000


@dataclass(frozen=True, kw_only=True)
class OfMany:
    """How many files are imported."""

    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, max=100, help=f"How many of many books are under way at once; else {_JOBS}."),
    ] = None
    report: Annotated[
        Path | None,
        typer.Option("--report", dir_okay=False, help="Write a line of JSON for each file, when it has ended."),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the report: leave out what it has, unless it changed.")
    ] = False


def import_many(
    context: Context, files: Sequence[str], body: Mapping[str, Any], source_id: str, encoding: str | None, many: OfMany
) -> None:
    """Ends with FAILED if one was not imported as a whole. When it has said how to go on, raises ApiError, and
    KeyboardInterrupt.
    """
    if not any(placeholder in source_id for placeholder in PLACEHOLDERS):
        stop(f"--source-id names one manuscript; of many, name each by one of {', '.join(PLACEHOLDERS)}", USAGE)
    known, paths, jobs = _known(many), find_manuscripts(files), many.jobs or _JOBS
    # Before all else: whether the API is there, and the caller may.
    context.client.get("/api/books", limit=1)
    entries: list[Entry] = []
    shown = None if context.as_json else view.console
    try:
        with Report(many.report, known) as report, BulkProgress(shown, len(paths)) as progress:
            client = replace(context.client, retries=patience(progress.note), requests_at_once=jobs)
            bulk = BulkImport(
                client=client,
                body=body,
                source_id=source_id,
                encoding=encoding,
                jobs=jobs,
                known=known,
                say=progress.note,
            )
            for entry in bulk.run(paths):
                report.add(entry)
                entries.append(entry)
                progress.show(entry)
                if context.as_json:
                    print(entry.json, flush=True)
    except (KeyboardInterrupt, ApiError):
        _say_how_to_go_on(len(entries), len(paths), many)
        raise
    show_summary(shown or view.errors, entries)
    if any(entry.outcome not in FINE for entry in entries):
        raise typer.Exit(FAILED)


def _known(many: OfMany) -> dict[str, Entry]:
    """What the report says that is to be gone on with."""
    if many.report is None:
        return stop("--resume goes on with a report: name it by --report", USAGE) if many.resume else {}
    if not many.resume and many.report.exists():
        stop(f"{many.report} is there already: go on with it by --resume, or name another file", USAGE)
    return read_report(many.report)


def _say_how_to_go_on(ended: int, files: int, many: OfMany) -> None:
    say(f"stopped: {ended} of {files} files have ended; books under way go on by themselves")
    again = "" if many.report else ", which leaves alone what is complete"
    say(f"to go on{again}:\n  {_same_command(many.report is not None)}")


def _same_command(resume: bool) -> str:
    """What was typed, but for a token."""
    words = [*sys.argv[1:], *(["--resume"] if resume and "--resume" not in sys.argv else [])]
    hidden = ["…" if before == "--token" else word for before, word in zip(["", *words], words, strict=False)]
    line = shlex.join(["--token=…" if word.startswith("--token=") else word for word in hidden])
    if len(line) <= _LONGEST_COMMAND_SHOWN:
        return f"{BINDERY} {line}"
    return f"the same command{' with --resume' if resume else ''}"
