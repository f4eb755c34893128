"""What a person sees in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from shared.domain.books import ChapterState

console = Console()
errors = Console(stderr=True)

_MARKS = {
    "completed": ("●", "green"),
    "failed": ("✗", "red"),
    "retrying": ("◌", "yellow"),
    "waiting": ("◌", "yellow"),
    "processing": ("◐", "cyan"),
    "pending": ("·", "dim"),
    "queued": ("·", "dim"),
    "cancelled": ("–", "dim"),
}


def is_book(path: str) -> bool:
    """Whether a live document is the book's, not the one that packs the states of its chapters."""
    return path.count("/") == 1


class LiveBook:
    """A book being made: an overall bar, its stages, and a mark for each chapter."""

    def __init__(self) -> None:
        self.book: Mapping[str, Any] = {}
        self.chapters: list[str] = []
        self._bar = Progress(
            TextColumn("[bold]{task.fields[title]}"),
            BarColumn(bar_width=40),
            TaskProgressColumn(),
            TextColumn("{task.fields[phase]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task("book", total=100, title="…", phase="waiting")

    def take(self, path: str, fields: Mapping[str, Any]) -> None:
        if not is_book(path):
            self.chapters = [_status(*states) for states in zip(fields["metadata"], fields["embeddings"], strict=True)]
            return
        self.book = fields
        self._bar.update(self._task, completed=fields["progress"], title=escape(fields["title"]), phase=_phase(fields))

    def __rich__(self) -> Group:
        counts = self.book.get("chapters", {})
        total = counts.get("total", 0)
        lines: list[Any] = [self._bar]
        if total:
            stages = f"chapters read {counts['processed']}/{total}   embedded {counts['embedded']}/{total}"
            lines.append(Text(f"  {stages}   passages {self.book['chunks']}", style="dim"))
            marks = Text("  ")
            for status in self.chapters[:400]:
                marks.append(*_MARKS[status])
            lines.append(marks)
        return Group(*lines)


def _status(metadata: str, embeddings: str) -> str:
    """Of a chapter, by the characters for its two stages: a missing summary fails no chapter."""
    if embeddings == ChapterState.FAILED:
        return "failed"
    states = {metadata, embeddings}
    if states <= {ChapterState.COMPLETED, ChapterState.FAILED, ChapterState.BLOCKED}:
        return "completed"
    if ChapterState.RETRYING in states:
        return "retrying"
    if ChapterState.CANCELLED in states:
        return "cancelled"
    return "pending" if states == {ChapterState.PENDING} else "processing"


def _phase(fields: Mapping[str, Any]) -> str:
    if fields["status"] == "retrying":
        return f"retrying {_attempt(fields)}"
    if fields["status"] == "waiting":
        return _waiting(fields)
    if fields["status"] == "queued":
        return f"queued, number {fields['queue_position']}"
    return str(fields["status"] if fields["status"] in ("completed", "failed", "cancelled") else fields["phase"])


def _attempt(fields: Mapping[str, Any]) -> str:
    if not fields["attempt"]:
        return f"(a service is away{_next(fields)})"
    return f"(attempt {fields['attempt']} of {fields['max_attempts']} failed{_next(fields)})"


def _waiting(fields: Mapping[str, Any]) -> str:
    return f"waiting for the {str(fields['waiting_for']).replace('-', ' ')}, which is away{_next(fields)}"


def _next(fields: Mapping[str, Any]) -> str:
    return f", the next try at {plain(fields['next_attempt_at'])[11:]}" if fields.get("next_attempt_at") else ""


def count_chapters(counts: Mapping[str, Any]) -> str:
    """How many chapters a finished book has, and what is not there of them."""
    missing = [f"{n} {what}" for what, n in _missing(counts).items() if n]
    return ", ".join([f"{counts['total']} chapter{'' if counts['total'] == 1 else 's'}", *missing])


def _missing(counts: Mapping[str, Any]) -> dict[str, int]:
    # A live document that was written before there was this count has none.
    return {"failed": counts["failed"], "without summary": counts.get("without_metadata", 0)}


def show_book(book: Mapping[str, Any]) -> None:
    context = book.get("context") or {}
    console.print()
    console.rule(f"[bold]{escape(book['title'])}", align="left")
    if context.get("summary"):
        console.print(Padding(escape(context["summary"]), (1, 2)))
    for label, values in (
        ("Characters", [f"{m['name']} ({m['count']})" for m in context.get("characters", [])[:8]]),
        ("Places", [m["name"] for m in context.get("places", [])[:8]]),
        ("Themes", context.get("themes", [])),
        ("Genre", [context["genre"]] if context.get("genre") else []),
    ):
        if values:
            console.print(f"  [dim]{label:<11}[/]{escape(', '.join(values))}")


def show_chapters(chapters: Sequence[Mapping[str, Any]]) -> None:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("Chapter", max_width=42)
    table.add_column("Words", justify="right", no_wrap=True)
    table.add_column("In short", style="dim")
    room = max(20, console.width - 58)
    for c in chapters:
        summary = (c.get("metadata") or {}).get("summary", "")
        if reason := c["lacks"].get("metadata"):
            summary = f"no summary: {reason}"
        short = shorten(summary, room, placeholder=" …") if summary else ""
        table.add_row(str(c["number"]), escape(c["title"]), f"{c['word_count']:,}", escape(short))
    console.print()
    console.print(table)


def show_results(found: Mapping[str, Any]) -> None:
    """What the API answered to a search."""
    console.print()
    alone = "" if "meaning" in found["by"] else "  [yellow]by words alone: the model can't be asked now[/]"
    console.print(f"  [bold]“{escape(found['query'])}”[/]{alone}")
    if not found["results"]:
        console.print("  nothing found")
    for n, r in enumerate(found["results"], 1):
        passage = " ".join(r["passage"].split())
        place = f"{r['book_title']} · {r['chapter_title']}"
        console.print(f"\n  [cyan]{n}[/] [dim]{escape(place)} · score {r['score']:.2f}[/]")
        console.print(Padding(escape(passage[:360] + ("…" if len(passage) > 360 else "")), (0, 4)))


def show_status(status: Mapping[str, Any]) -> None:
    counts = status["chapters"]
    console.print(f"{status['status']}  {status['progress']} %  {status['phase']}  version {status['version']}")
    missing = ", ".join(f"{n} {what}" for what, n in _missing(counts).items())
    console.print(f"chapters: {counts['done']} of {counts['total']} done, {missing}", highlight=False)
    if status["status"] == "retrying":
        console.print(_attempt(status), highlight=False)
    if status["status"] == "queued":
        console.print(f"number {status['queue_position']} in the queue", highlight=False)
    if status["status"] == "waiting":
        console.print(_waiting(status), highlight=False)
    if status["status"] == "completed" and status["current_version"] != status["version"]:
        older = f"readers still see version {status['current_version']}, which has all its chapters"
        console.print(f"{older}: retry the failed ones, or import with --allow-partial --force", highlight=False)
    if status.get("error"):
        console.print(f"[red]{escape(cause_of(status['error']))}")


def cause_of(error: Mapping[str, Any]) -> str:
    """What the API tells of an error: to an administrator, what is technical."""
    known = error["technical"]
    return f"{known['error_class']}: {known['message']}" if known else f"{error['message']} ({error['code']})"


def plain(value: Any) -> str:
    """A cell: times to the second, no markup."""
    text = "" if value is None else str(value)
    return escape(text[:19].replace("T", " ") if text[4:5] == "-" and text[10:11] == "T" else text)


def show_letter(letter: Mapping[str, Any]) -> None:
    for name in ("dead_letter_id", "state", "stage", "job_id", "book_id", "version", "fingerprint", "times"):
        console.print(f"[dim]{name:<15}[/]{plain(letter[name])}", highlight=False)
    console.print(f"[dim]{'seen':<15}[/]{plain(letter['first_seen'])} to {plain(letter['last_seen'])}", highlight=False)
    console.print(f"[red]{escape(cause_of(letter))}", highlight=False)
    for failure in letter["failures"]:
        number = failure["attempt"] or "–"
        line = f"  attempt {number}  {plain(failure['at'])}  {cause_of(failure)}"
        console.print(escape(line), highlight=False)
    for action in letter["actions"]:
        reason = f" ({action['reason']})" if action["reason"] else ""
        line = f"  {action['action']} by {action['requested_by']}, {plain(action['requested_at'])}: {action['outcome']}"
        console.print(escape(line + reason), highlight=False)
    if letter["traceback"]:
        console.print(escape(letter["traceback"]), style="dim", highlight=False)


def show_batch(batch: Mapping[str, Any]) -> None:
    console.print(f"asked for {plain(batch['requested_at'])}, {batch['per_minute']} a minute", highlight=False)
    for outcome in ("held", "waiting", "sent", "succeeded", "failed", "dropped"):
        console.print(f"{outcome:<10}{batch[outcome]:>6}", highlight=False)


def show_receipt(receipt: Mapping[str, Any]) -> None:
    expected = "" if receipt["expected"] is None else f", of {receipt['expected']} jobs"
    if receipt["replay_id"] is None:
        console.print(
            f"it would deliver the messages of {receipt['expected']} jobs"
            if expected
            else "it would deliver what the snapshot holds"
        )
        return
    for label, value in (
        ("replay", receipt["replay_id"]),
        ("messages redelivered", f"{receipt['messages_redelivered']}{expected}"),
        ("stages repeated", receipt["stages_repeated"]),
        ("model calls", receipt["model_calls"]),
        ("rows changed", receipt["rows_changed"]),
    ):
        console.print(f"{label:<21} {value}", highlight=False)
