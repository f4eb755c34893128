"""How well the headings of chapters are found: precision, recall and F1, with the errors listed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.domain.splitting.chapters import SplitMethod, split_chapters
from tests.benchmarks.manuscripts import Manuscript, manuscripts

HEAD = ("manuscript", "expected", "found", "precision", "recall", "F1")

NOVELS = {
    "pride-and-prejudice": r"^(Chapter \d+)$",
    "emma": r"^(?:VOLUME [IVX]+\n+)?(CHAPTER [IVXLC]+)$",
    "moby-dick": r"^(CHAPTER \d+\. .+|Epilogue)$",
}
"""How a person told the headings, by the name of the file: the group is the heading, what is before it the part."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """`missed` and `wrong` are the lines that were, or should have been, no heading."""

    name: str
    expected: int
    found: int
    right: int
    missed: Sequence[str]
    wrong: Sequence[str]

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.expected if self.expected else 0.0

    @property
    def f1(self) -> float:
        total = self.expected + self.found
        return 2 * self.right / total if total else 0.0

    @property
    def row(self) -> list[object]:
        return [self.name, self.expected, self.found, *(f"{x:.2f}" for x in (self.precision, self.recall, self.f1))]


def score(manuscript: Manuscript) -> Score:
    """A chapter is right if it begins at its heading, or at that of the part above it."""
    split = split_chapters(manuscript.text)
    starts = [c.start for c in split.chapters] if split.method is SplitMethod.HEADINGS else []
    open_spans = dict(zip(manuscript.headings, manuscript.openings, strict=True))
    right = {h: s for h, opening in open_spans.items() for s in starts if opening <= s <= h}
    return Score(
        name=manuscript.name,
        expected=len(open_spans),
        found=len(starts),
        right=len(right),
        missed=[_line(manuscript.text, h) for h in open_spans if h not in right],
        wrong=[_line(manuscript.text, s) for s in starts if s not in right.values()],
    )


def novel(file: Path) -> Manuscript:
    """One of the NOVELS, whole."""
    text = file.read_text("utf-8-sig")
    found = list(re.finditer(NOVELS[file.stem], text, re.MULTILINE))
    headings, openings = [m.start(1) for m in found], [m.start() for m in found]
    return Manuscript(name=file.stem, text=text, headings=headings, openings=openings)


def scores(files: Iterable[Path] = ()) -> list[Score]:
    """Of the manuscripts, and of those novels that are known."""
    return [score(m) for m in (*manuscripts(), *(novel(f) for f in files if f.stem in NOVELS))]


def together(found: Sequence[Score]) -> Score:
    """All as if they were one."""
    sums = {name: sum(getattr(s, name) for s in found) for name in ("expected", "found", "right")}
    return Score(name="all", missed=[], wrong=[], **sums)


def errors(found: Iterable[Score]) -> list[str]:
    return [
        f"{s.name}: {kind} “{line}”"
        for s in found
        for kind, lines in (("missed", s.missed), ("wrong", s.wrong))
        for line in lines
    ]


def _line(text: str, start: int) -> str:
    return next((line for line in text[start:].splitlines() if line.strip()), "").strip()[:70]
