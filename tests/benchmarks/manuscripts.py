"""Manuscripts of many kinds, each with and without a table of contents, whose headings are known.

Their headings and what looks like one are written by hand; the prose between is made from a few sentences, the same at
every run. Each is 2,000 words and more.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

Paragraphs = Callable[[random.Random], list[str]]


@dataclass(frozen=True, kw_only=True)
class Manuscript:
    """`headings` are where the chapters' headings begin, in characters; `openings` where the parts above them do."""

    name: str
    text: str
    headings: Sequence[int]
    openings: Sequence[int]


@dataclass
class _Writer:
    """Joins blocks by blank lines, and remembers where headings begin."""

    text: str = ""
    headings: list[int] = field(default_factory=list)
    openings: list[int] = field(default_factory=list)
    pending: int | None = None

    def block(self, words: str, gap: str = "\n\n") -> None:
        self.text += words + gap

    def part(self, words: str, gap: str = "\n\n") -> None:
        self.pending = len(self.text) if self.pending is None else self.pending
        self.block(words, gap)

    def heading(self, words: str, gap: str = "\n\n") -> None:
        self.headings.append(len(self.text))
        self.openings.append(len(self.text) if self.pending is None else self.pending)
        self.pending = None
        self.block(words, gap)

    def done(self, name: str) -> Manuscript:
        return Manuscript(name=name, text=self.text, headings=self.headings, openings=self.openings)


_SENTENCES = (
    "The tide had turned before anybody on the quay thought of the boat.",
    "Martha counted the trunks twice, and then sat down upon the largest.",
    "He was late, as he had been late on every day of importance.",
    "Nobody in the yard looked up when the coach came down the hill.",
    "There were three letters on the table, and none of them was for her.",
    "It rained from Tuesday until the end of the week.",
    "Old Pettifer had kept the lamp for forty years, and meant to keep it for another ten.",
    "She read the page again, more slowly, with her finger under the words.",
    "The window would not shut, and in the end they let it be.",
    "What the captain wanted with so much rope was more than he would say.",
    "At the top of the stairs the boy stopped and listened.",
    "A gull walked along the wall as if it owned the harbour.",
)
_SPOKEN = (
    "“You might have written,” said Martha. “I did write,” he said. “I did not send it.”",
    "“Is that all?” “That is all.”",
    "“No!” cried the boy.",
    "“Chapter and verse,” said the old man, “I can give you chapter and verse.”",
)
# What looks like a heading and is none.
_TRAPS = (
    "* * *",
    "Silence.",
    "Yours in haste,\n\nEdward Orme",
    "1. a lantern,\n2. two yards of rope,\n3. bread for a day.",
    "“FOUND DROWNED.”",
    "THE END OF THE LINE, said a board above the rails, and somebody had shot at it.",
    "Part of it was true, and\nChapter 3 of his story was not.",
    "_To be left until called for._",
)


def _prose(rng: random.Random, words: int = 190) -> list[str]:
    """Paragraphs with speech and a trap now and then."""
    found: list[str] = []
    count = 0
    while count < words:
        kind = rng.random()
        if kind < 0.15 and found:
            found.append(rng.choice(_TRAPS))
        elif kind < 0.35:
            found.append(rng.choice(_SPOKEN))
        else:
            found.append(" ".join(rng.sample(_SENTENCES, rng.randrange(3, 6))))
        count += len(found[-1].split())
    return [*found, " ".join(rng.sample(_SENTENCES, 3))]


def _write(writer: _Writer, paragraphs: Sequence[str]) -> None:
    for paragraph in paragraphs:
        writer.block(paragraph)


def _front(writer: _Writer, title: str, contents: Sequence[str] | None, leader: bool = False) -> None:
    writer.block(title)
    writer.block("by\n\nA. N. Author")
    if contents:
        lines = [f"{line} {'.' * (50 - len(line))} {7 + 11 * n}" for n, line in enumerate(contents)]
        writer.block("CONTENTS\n\n" + "\n".join(lines if leader else contents), "\n\n\n")


_STORIES = (
    ("ADVENTURE I. THE LAMP THAT WAS LIT TWICE", "The Lamp that was Lit Twice"),
    ("ADVENTURE II. THE BINDER'S APPRENTICE", "The Binder’s Apprentice"),
    ("ADVENTURE III. A QUESTION OF ROPE", "A Question of Rope"),
    ("ADVENTURE IV. THE DROWNED BELL", "The Drowned Bell"),
    ("ADVENTURE V. FIVE GREY STONES", "Five Grey Stones"),
    ("ADVENTURE VI. THE MAN WITHOUT A HAT", "The Man without a Hat"),
    ("VII. THE ADVENTURE OF THE BLUE DOOR", "The Adventure of the Blue Door"),
    ("VIII. THE ADVENTURE OF THE PAINTED OAR", "The Adventure of the Painted Oar"),
    ("IX. THE ADVENTURE OF THE CLOCKMAKER'S THUMB", "The Adventure of the Clockmaker’s Thumb"),
    ("X. THE ADVENTURE OF THE NOBLE LODGER", "The Adventure of the Noble Lodger"),
    ("XI. THE ADVENTURE OF THE GLASS CROWN", "The Adventure of the Glass Crown"),
    ("XII. THE ADVENTURE OF THE TWO ELMS", "The Adventure of the Two Elms"),
)


def stories(rng: random.Random, contents: bool) -> _Writer:
    """Twelve, whose headings change form on the way; some have sections `I.`, `II.`, `III.` of their own."""
    writer = _Writer()
    listed = [f"   {n}. {title}" for n, (_, title) in zip(_ROMAN, _STORIES, strict=True)]
    _front(writer, "THE ADVENTURES OF SERGEANT VANE", [line.strip() for line in listed] if contents else None)
    for n, (heading, _) in enumerate(_STORIES):
        writer.heading(heading)
        for section in ("I.", "II.", "III.") if n in (0, 2, 7) else ("",):
            if section:
                writer.block(section)
            _write(writer, _prose(rng, 130))
    return writer


_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
_SPEAKERS = ("MARTHA", "EDWARD", "CAPTAIN ORME", "THE BOY")
_SCENES = (
    ("ACT I", (("SCENE I. The quay, before dawn.", 3), ("SCENE II. A room above the bindery.", 3))),
    ("ACT II", (("SCENE I. The same.", 3), ("SCENE II. A cell.", 2), ("SCENE III. The quay.", 3))),
    ("ACT III", (("SCENE I. A churchyard.", 3), ("SCENE II. A room above the bindery.", 3))),
)


def play(rng: random.Random, contents: bool) -> _Writer:
    writer = _Writer()
    lines = [line for act, scenes in _SCENES for line in (act, *(f"  {scene}" for scene, _ in scenes))]
    _front(writer, "THE LIGHT-KEEPER\n\nA Play in Three Acts", lines if contents else None)
    writer.block("PERSONS OF THE PLAY\n\n" + "\n".join(_SPEAKERS))
    for act, scenes in _SCENES:
        writer.part(act)
        for scene, turns in scenes:
            writer.heading(scene)
            writer.block("[_Enter_ MARTHA _with a lantern._]")
            for _ in range(4 * turns):
                writer.block(f"{rng.choice(_SPEAKERS)}.\n{' '.join(rng.sample(_SENTENCES, 2))}")
            writer.block("[_Exeunt._]")
    return writer


_LETTERS = (
    "LETTER I", "LETTER II", "LETTER III", "LETTER IV", "LETTER V", "LETTER VI", "LETTER VII", "LETTER VIII",
)  # fmt: skip
_TO = "To Mrs. Orme, Saltmarsh"


def letters(rng: random.Random, contents: bool) -> _Writer:
    """Each with an address, a place and a date, and a signature below."""
    writer = _Writer()
    _front(writer, "A CORRESPONDENCE", _LETTERS if contents else None)
    for n, heading in enumerate(_LETTERS, 1):
        writer.heading(heading)
        writer.block(f"_{_TO}._")
        writer.block(f"St. Petersburgh, Dec. {n}th, 17—.")
        _write(writer, _prose(rng, 230))
        writer.block("Your affectionate brother,\n\nR. WALTON")
    return writer


_DAYS = (
    "3 May. Bistritz.", "4 May.", "5 May. The Castle.", "7 May.", "8 May.", "12 May.", "Midnight, 15 May.", "16 May.",
    "19 May.", "28 May.", "17 June.", "25 June, morning.",
)  # fmt: skip


def diary(rng: random.Random, contents: bool) -> _Writer:
    writer = _Writer()
    _front(writer, "A Journal Kept in the Mountains", _DAYS if contents else None, leader=True)
    for day in _DAYS:
        writer.heading(day)
        _write(writer, _prose(rng, 120))
        writer.block("On the 9 May they would have come, had the road been open.")
    return writer


_POEMS = (
    "THE LAMP", "TO A GULL ON THE HARBOUR WALL", "SALT", "WHAT THE ROPE SAID", "ELEGY FOR A FERRYMAN", "THREE GREY STONES",
    "MARSH SONG", "AFTER THE RAIN", "THE BINDER", "LOW WATER", "A LETTER, NOT SENT", "THE BELL UNDER THE WATER",
)  # fmt: skip
_VERSES = (
    "The tide goes out, the tide comes in,",
    "And nobody has asked it why;",
    "I keep the lamp, I keep the tin",
    "Of matches where the coats are dry.",
    "O gull upon the harbour wall,",
    "What have you eaten, that you call",
    "So late, and not to me at all?",
    "The rope lay coiled, and would not tell.",
)


def poems(rng: random.Random, contents: bool) -> _Writer:
    writer = _Writer()
    _front(writer, "LOW WATER, AND OTHER POEMS", _POEMS if contents else None, leader=True)
    for title in _POEMS:
        writer.heading(title)
        for stanza in range(7):
            if stanza == 3:
                writer.block("*")
            writer.block("\n".join(rng.sample(_VERSES, 4)))
    return writer


_SECTIONS = (
    ("1 Introduction", ("1.1 Scope", "1.2 What is not told here")),
    ("2 Materials", ("2.1 Paper", "2.2 Thread", "2.3 Paste")),
    ("3 Tools", ()),
    ("4 Sewing", ("4.1 On cords", "4.2 On tapes")),
    ("5 Covers", ("5.1 Boards", "5.2 Leather")),
    ("6 When it goes wrong", ()),
)


def manual(rng: random.Random, contents: bool) -> _Writer:
    """Non-fiction, with sections below the chapters and numbered lists in the text."""
    writer = _Writer()
    lines = [line for chapter, sections in _SECTIONS for line in (chapter, *(f"  {s}" for s in sections))]
    _front(writer, "A Handbook of Binding", lines if contents else None, leader=True)
    for chapter, sections in _SECTIONS:
        writer.heading(chapter)
        _write(writer, _prose(rng, 160))
        writer.block("1. Fold the sheet.\n2. Press it.\n3. Leave it for a day.")
        for section in sections:
            writer.block(section)
            _write(writer, _prose(rng, 110))
    return writer


_TITLES = (
    "The Parcel", "A Coach Comes Down the Hill", "Rope", "What Martha Saw", "The Man Who Never Slept", "Low Water",
    "Nobody Looks Up", "The Window", "Three Letters",
)  # fmt: skip


def titled(rng: random.Random, contents: bool) -> _Writer:
    """A novel whose chapters have titles only, set off by three blank lines."""
    writer = _Writer()
    _front(writer, "The Quay", _TITLES if contents else None)
    for title in _TITLES:
        writer.text = writer.text.rstrip("\n") + "\n\n\n\n"
        writer.heading(title)
        _write(writer, _prose(rng, 230))
    return writer


_CHAPTERS = (
    ("BOOK THE FIRST", ("CHAPTER I\nThe Quay", "CHAPTER II\nThe Yard", "CHAPTER III\nThe Stairs")),
    ("BOOK THE SECOND", ("CHAPTER I\nThe Marsh", "CHAPTER II\nThe Lamp", "CHAPTER III\nThe Bell")),
    ("BOOK THE THIRD", ("CHAPTER I\nThe Rope", "CHAPTER II\nThe Door", "CHAPTER III\nThe End")),
)


def novel(rng: random.Random, contents: bool) -> _Writer:
    """In three books whose chapters count from I each."""
    writer = _Writer()
    lines = [line for book, chapters in _CHAPTERS for line in (book, *(c.replace("\n", ". ") for c in chapters))]
    _front(writer, "THREE BOOKS OF THE QUAY", lines if contents else None, leader=True)
    for book, chapters in _CHAPTERS:
        writer.part(book)
        for chapter in chapters:
            writer.heading(chapter)
            _write(writer, _prose(rng, 210))
    return writer


_LECTURES = (
    "Lecture the First: On Paper", "Lecture the Second: On Thread", "Lecture the Third: On Paste and Patience",
    "Lecture the Fourth: On Boards", "Lecture the Fifth: On Leather", "Lecture the Last: On Being Read",
)  # fmt: skip


def lectures(rng: random.Random, contents: bool) -> _Writer:
    """Held back until the code was done, which then found none of them without contents."""
    writer = _Writer()
    _front(writer, "Six Lectures on the Book", _LECTURES if contents else None, leader=True)
    for heading in _LECTURES:
        writer.heading(heading)
        writer.block("_Ladies and gentlemen_:")
        _write(writer, _prose(rng, 330))
        writer.block("(_Applause._)")
    return writer


_YEARS = ("1871", "1872", "1874", "1875", "1879", "1880", "1883")


def memoir(rng: random.Random, contents: bool) -> _Writer:
    """Held back until the code was done, which found them all: bare numbers, each with a title that is a year and a place."""
    writer = _Writer()
    titles = [f"{year}, {place}" for year, place in zip(_YEARS, ("Saltmarsh", "at sea") * 4, strict=False)]
    _front(writer, "WHAT I REMEMBER", [f"{n}. {title}" for n, title in enumerate(titles, 1)] if contents else None)
    for n, title in enumerate(titles, 1):
        writer.heading(str(n))
        writer.block(title)
        _write(writer, _prose(rng, 290))
    return writer


KINDS = (stories, play, letters, diary, poems, manual, titled, novel, lectures, memoir)


def manuscripts() -> Iterator[Manuscript]:
    """Each kind, with and without contents."""
    for kind in KINDS:
        for contents in (True, False):
            write = partial(kind, random.Random(kind.__name__), contents)
            yield write().done(f"{kind.__name__}, {'with' if contents else 'without'} contents")
