"""What a person sees of an import of many files: a bar in a terminal, else a line for each; and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from infra.cli.command_name import BINDERY
from infra.cli.import_report import FINE, Entry, Outcome


class BulkProgress:
    """From when it is entered until its end. Without a console it shows nothing."""

    def __init__(self, console: Console | None, total: int) -> None:
        self._console = console
        self._total = total
        self._outcomes: Counter[Outcome] = Counter()
        self._noted = ""
        self._bar = Progress(
            TextColumn("[bold]importing"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TextColumn("{task.fields[outcomes]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=console is None or not console.is_terminal,
        )
        self._task = self._bar.add_task("books", total=total, outcomes="")

    def show(self, entry: Entry) -> None:
        self._outcomes[entry.outcome] += 1
        self._noted = ""
        self._bar.update(self._task, advance=1, outcomes=", ".join(_counts(self._outcomes)))
        if self._console and (not self._console.is_terminal or entry.outcome not in FINE):
            number = f"{self._outcomes.total():>{len(str(self._total))}}/{self._total}"
            self._print(f"{number}  {_line(entry)}")

    def note(self, message: str) -> None:
        """Tells what is no file's end, once until the next one; from any thread."""
        if self._console and message != self._noted:
            self._noted = message
            self._print(message)

    def _print(self, line: str) -> None:
        assert self._console
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()


def show_summary(console: Console, entries: Sequence[Entry]) -> None:
    """How many there are of each outcome; and each that is not fine, with what is to be done."""
    counts = ", ".join(_counts(Counter(entry.outcome for entry in entries)))
    console.print(f"{len(entries)} file{'' if len(entries) == 1 else 's'}: {counts}", highlight=False)
    for entry in entries:
        if entry.outcome not in FINE:
            console.print(f"[red]{escape(_line(entry))}[/]", highlight=False, soft_wrap=True)
            if step := _next_step(entry):
                console.print(f"    {escape(step)}", highlight=False, soft_wrap=True)


def _counts(outcomes: Counter[Outcome]) -> Iterable[str]:
    return (f"{outcomes[outcome]} {_words(outcome)}" for outcome in Outcome if outcomes[outcome])


def _line(entry: Entry) -> str:
    line = f"{_words(entry.outcome)}  {entry.path}"
    if entry.duplicate_of:
        return f"{line}: duplicate of {entry.duplicate_of}"
    if entry.outcome is Outcome.COMPLETED_WITH_FAILURES and entry.chapters:
        return f"{line}: {entry.chapters['failed']} of {entry.chapters['total']} chapters failed"
    return f"{line}: {entry.error['message']} ({entry.error['code']})" if entry.error else line


def _next_step(entry: Entry) -> str:
    match entry.outcome:
        case Outcome.REJECTED:
            return "mend the file, or leave it out"
        case Outcome.CANCELLED:
            return f"{BINDERY} resume {entry.book_id}"
        case _:
            return f"{BINDERY} retry {entry.book_id}" if entry.book_id else "import it again"


def _words(outcome: Outcome) -> str:
    return outcome.replace("_", " ")
