from __future__ import annotations

import pytest

from shared.domain.splitting.chapters import SectionKind, Split, SplitMethod, split_chapters

PROSE = (
    "The rain had stopped before the coach came down the hill, and nobody in the yard looked up. "
    "Martha counted the trunks twice, then sat upon the largest and waited for her brother. "
    "He was late, as he had been late on every day of importance since they were children.\n"
)


def book(*blocks: str) -> str:
    """A manuscript in which three paragraphs follow each heading."""
    return "\n\n".join(f"{block}\n\n" + "\n".join([PROSE] * 3) for block in blocks)


def titles(split: Split) -> list[str]:
    return [chapter.title for chapter in split.chapters]


def first_lines(text: str, split: Split) -> list[str]:
    return [text[chapter.start : chapter.end].splitlines()[0] for chapter in split.chapters]


def kinds(split: Split) -> list[str]:
    return [section.kind.value for section in split.sections]


def assert_tiles(text: str, split: Split) -> None:
    assert "".join(text[s.start : s.end] for s in split.sections) == text
    assert [c.number for c in split.chapters] == list(range(1, len(split.chapters) + 1))
    assert all(s.number is None for s in split.sections if s.kind is not SectionKind.CHAPTER)


@pytest.mark.parametrize(
    ("headings", "expected"),
    [
        (["CHAPTER I", "CHAPTER II", "CHAPTER III"], ["Chapter I", "Chapter II", "Chapter III"]),
        (["Chapter 1: Rain", "Chapter 2: Mud"], ["Chapter 1: Rain", "Chapter 2: Mud"]),
        (["CHAPTER 1. Rain.", "CHAPTER 2. Mud."], ["Chapter 1. Rain.", "Chapter 2. Mud."]),
        (["Chapter 1 — Rain", "Chapter 2 – Mud"], ["Chapter 1 — Rain", "Chapter 2 – Mud"]),
        (
            ["CHAPTER I—In which it rains", "CHAPTER II—Mud"],
            ["Chapter I—In which it rains", "Chapter II—Mud"],
        ),
        (["Chapter the First", "Chapter the Last"], ["Chapter the First", "Chapter the Last"]),
        (["CHAPTER TWENTY", "CHAPTER TWENTY-ONE"], ["Chapter Twenty", "Chapter Twenty-One"]),
        (
            ["Chapter One Hundred", "Chapter One Hundred and One"],
            ["Chapter One Hundred", "Chapter One Hundred and One"],
        ),
        (["Chapter\u00a01", "Chapter\u00a02"], ["Chapter 1", "Chapter 2"]),
        (["**Chapter 1**", "**Chapter 2**"], ["Chapter 1", "Chapter 2"]),
        (["1", "2", "3"], ["1", "2", "3"]),
        (["1.", "2.", "3."], ["1.", "2.", "3."]),
        (["I.", "II.", "III.", "IV."], ["I.", "II.", "III.", "IV."]),
        (["One", "Two", "Three"], ["One", "Two", "Three"]),
        (["1. Rain", "2. Mud"], ["1. Rain", "2. Mud"]),
        (["I. Rain", "II. Mud"], ["I. Rain", "II. Mud"]),
        (["# Rain", "# Mud"], ["Rain", "Mud"]),
        (["# Chapter 1", "# Chapter 2"], ["Chapter 1", "Chapter 2"]),
        (["Rain\n====", "Mud\n==="], ["Rain", "Mud"]),
        (["Rain\n----", "Mud\n---"], ["Rain", "Mud"]),
        (["CHAPTER I\nThe Rain", "CHAPTER II\nThe Mud"], ["Chapter I: The Rain", "Chapter II: The Mud"]),
        (["CHAPTER I\n\nTHE RAIN", "CHAPTER II\n\nTHE MUD"], ["Chapter I: THE RAIN", "Chapter II: THE MUD"]),
        (
            ["PROLOGUE", "Chapter 1", "Interlude", "Chapter 2", "EPILOGUE"],
            ["Prologue", "Chapter 1", "Interlude", "Chapter 2", "Epilogue"],
        ),
        (["Prologue", "1", "2", "Epilogue"], ["Prologue", "1", "2", "Epilogue"]),
        (
            ["Letter 1", "Letter 2", "Chapter 1", "Chapter 2"],
            ["Letter 1", "Letter 2", "Chapter 1", "Chapter 2"],
        ),
        (["BOOK I", "BOOK II"], ["Book I", "Book II"]),
        (["第一章 雨", "第二章 泥"], ["第一章 雨", "第二章 泥"]),
        (["Kapitel 1", "Kapitel 2"], ["Kapitel 1", "Kapitel 2"]),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_headings_of_many_styles_begin_chapters(headings: list[str], expected: list[str], newline: str) -> None:
    text = book(*headings).replace("\n", newline)

    split = split_chapters(text)

    assert titles(split) == expected
    assert split.method is SplitMethod.HEADINGS
    assert first_lines(text, split) == [h.splitlines()[0] for h in headings]
    assert_tiles(text, split)


@pytest.mark.parametrize(
    ("headings", "expected"),
    [
        (
            ["VOLUME I\n\nCHAPTER I", "CHAPTER II", "VOLUME II\n\nCHAPTER I"],
            ["Volume I, Chapter I", "Volume I, Chapter II", "Volume II, Chapter I"],
        ),
        (
            ["PART ONE\nThe Hill\n\n1", "2", "PART TWO\nThe Yard\n\n1", "2"],
            [
                "Part One: The Hill, 1",
                "Part One: The Hill, 2",
                "Part Two: The Yard, 1",
                "Part Two: The Yard, 2",
            ],
        ),
        (
            [
                "VOLUME I\n\nBOOK ONE\n\nCHAPTER I",
                "BOOK TWO\n\nCHAPTER I",
                "VOLUME II\n\nBOOK ONE\n\nCHAPTER I",
            ],
            [
                "Volume I, Book One, Chapter I",
                "Volume I, Book Two, Chapter I",
                "Volume II, Book One, Chapter I",
            ],
        ),
        (
            ["# Part One\n\n## Rain", "## Mud", "# Part Two\n\n## Snow"],
            ["Part One, Rain", "Part One, Mud", "Part Two, Snow"],
        ),
        (
            ["# The Hill\n\n## Rain", "## Mud", "# The Yard\n\n## Snow", "## Ice"],
            ["The Hill, Rain", "The Hill, Mud", "The Yard, Snow", "The Yard, Ice"],
        ),
        (
            ["Prologue", "PART ONE\n\nChapter 1", "Chapter 2", "Epilogue"],
            ["Prologue", "Part One, Chapter 1", "Part One, Chapter 2", "Epilogue"],
        ),
    ],
)
def test_a_part_belongs_to_the_chapter_after_it_and_shows_in_titles(headings: list[str], expected: list[str]) -> None:
    text = book(*headings)

    split = split_chapters(text)

    assert titles(split) == expected
    assert first_lines(text, split) == [h.splitlines()[0] for h in headings]
    assert_tiles(text, split)


@pytest.mark.parametrize(
    "contents",
    [
        "Contents\n\nChapter 1\n\nChapter 2\n\nChapter 3",
        "Chapter 1\nChapter 2\nChapter 3",
        "TABLE OF CONTENTS\n\nChapter 1 .... 3\nChapter 2 .... 17\nChapter 3 .... 31",
        "# Contents\n\n- [Chapter 1](#1)\n- [Chapter 2](#2)\n- [Chapter 3](#3)",
        "Contents\n\n1. Rain\n2. Mud\n3. Snow",
        "Contents\n\nPart One\n\nChapter 1\n\nChapter 2\n\nPart Two\n\nChapter 3",
    ],
)
def test_a_table_of_contents_holds_no_chapters(contents: str) -> None:
    text = f"THE HILL\n\n{contents}\n\n\n" + book("Chapter 1", "Chapter 2", "Chapter 3")

    split = split_chapters(text)

    assert titles(split) == ["Chapter 1", "Chapter 2", "Chapter 3"]
    assert split.sections[0].kind is SectionKind.FRONT_MATTER
    assert_tiles(text, split)


def test_a_preface_between_the_contents_and_chapter_one_is_front_matter() -> None:
    text = "Contents\n\nChapter 1\n\nChapter 2\n\n" + book("Preface", "Chapter 1", "Chapter 2")

    split = split_chapters(text)

    assert kinds(split) == ["front_matter", "chapter", "chapter"]
    assert split.sections[0].end == text.rindex("Chapter 1")


def test_titles_pieces_before_and_after_the_chapters_frame_them() -> None:
    text = book("THE HILL\n\nby A. Writer", "Etymology", "CHAPTER 1", "CHAPTER 2", "Appendix A: Maps", "Index")

    split = split_chapters(text)

    assert kinds(split) == ["front_matter", "chapter", "chapter", "back_matter"]
    assert text[split.sections[-1].start :].startswith("Appendix A")
    assert_tiles(text, split)


def test_notes_that_close_every_chapter_stay_in_the_last_one_too() -> None:
    text = book("Chapter 1", "Notes", "Chapter 2", "Notes")

    split = split_chapters(text)

    assert kinds(split) == ["chapter", "chapter"]


def test_a_publishers_header_and_licence_are_no_part_of_the_book() -> None:
    text = (
        "\ufeffThe eBook of The Hill\n\nChapter 9 of our licence\n\n*** START OF THE EBOOK THE HILL ***\n\n"
        + book("Chapter 1", "Chapter 2")
        + "\n\n*** END OF THE EBOOK THE HILL ***\n\n"
        + book("Chapter 3")
    )

    split = split_chapters(text)

    assert kinds(split) == ["front_matter", "chapter", "chapter", "back_matter"]
    assert text[split.sections[-1].start :].startswith("*** END OF")
    assert_tiles(text, split)


@pytest.mark.parametrize(
    "line",
    [
        "Chapter 3 of the report was lost in the flood, and nobody wrote it again.",
        "Chapter 7. It was the worst that he had ever written, and he knew it.",
        "Chapter Two was where she had stopped.",
        "Chapter and verse, he could quote it all.",
        "Part of the trouble was the roof.",
        "Book I loved best was lost.",
        "Epilogue was a word that he never used.",
        "1. Buy a new trunk.\n\n2. Write to Aunt Ada.\n\n3. Forget the hill.",
        "1. Trunks\n\n2. DeadLetterFilter\n\n3. Apples",
        "```\n# Chapter 8\n\nChapter 9\n```",
    ],
)
def test_what_only_looks_like_a_heading_does_not_split(line: str) -> None:
    text = book("Chapter 1", "Chapter 2") + f"\n{line}\n\n{PROSE}\n" + book("Chapter 3")

    split = split_chapters(text)

    assert titles(split) == ["Chapter 1", "Chapter 2", "Chapter 3"]


def test_a_numbered_list_in_a_text_without_headings_does_not_split() -> None:
    text = PROSE + "\n1. Trunks\n\n2. DeadLetterFilter\n\n3. Apples\n\n" + PROSE

    split = split_chapters(text)

    assert split.method is SplitMethod.SIZE
    assert len(split.chapters) == 1


def test_scenes_below_chapters_and_the_books_title_above_them_are_no_chapters() -> None:
    text = "# The Hill\n\n" + book("## Rain", "### Morning", "### Evening", "## Mud", "### Night")

    split = split_chapters(text)

    assert titles(split) == ["Rain", "Mud"]


def test_dashes_between_scenes_are_no_headings() -> None:
    text = book("# Rain", "# Mud") + "\nNobody came.\n---\n" + PROSE

    split = split_chapters(text)

    assert titles(split) == ["Rain", "Mud"]


def test_lines_that_are_paragraphs_need_no_blank_lines_between_them() -> None:
    paragraph = PROSE.replace("\n", " ").strip() + "\n"
    text = "".join(f"Chapter {n}: Day {n}\n" + paragraph * 30 for n in range(1, 6))

    split = split_chapters(text)

    assert titles(split) == [f"Chapter {n}: Day {n}" for n in range(1, 6)]


def test_a_text_without_headings_is_split_by_size_at_paragraphs() -> None:
    text = "\n".join([PROSE] * 300)

    split = split_chapters(text)

    assert split.method is SplitMethod.SIZE
    assert [2000 < len(text[c.start : c.end].split()) < 4000 for c in split.chapters] == [True] * len(split.chapters)
    assert all(text[c.start :].startswith("The rain") for c in split.chapters)
    assert_tiles(text, split)


def test_one_word_is_one_chapter() -> None:
    split = split_chapters("  word\n")

    assert [(s.kind, s.number, s.start, s.end) for s in split.sections] == [(SectionKind.CHAPTER, 1, 0, 7)]


@pytest.mark.parametrize(("text", "expected"), [("", []), (" \r\n\t", ["front_matter"]), ("* * *", ["front_matter"])])
def test_a_text_without_words_has_no_chapters(text: str, expected: list[str]) -> None:
    assert kinds(split_chapters(text)) == expected


def test_three_thousand_chapters_are_no_trouble() -> None:
    text = "".join(f"Chapter {n}\n\n{PROSE}\n" for n in range(1, 3001))

    split = split_chapters(text)

    assert len(split.chapters) == 3000


@pytest.mark.parametrize(
    "unit",
    [
        "#",
        "# ",
        "=\n",
        "*",
        "Chapter ",
        "Chapter 1\n\n",
        "I",
        "one-",
        "1.\n\n",
        "```\n",
        "\r",
        "a\n---\n",
        "*** START OF ",
        "“",
        "第",
    ],
)
def test_a_hundred_thousand_characters_of_nonsense_still_tile(unit: str) -> None:
    text = unit * (100_000 // len(unit))

    assert_tiles(text, split_chapters(text))


STORIES = ["THE LAMP", "A QUESTION OF ROPE", "THE DROWNED BELL", "THE MAN WITHOUT A HAT"]
MIXED = [
    "ADVENTURE I. THE LAMP",
    "ADVENTURE II. A QUESTION OF ROPE",
    "III. THE DROWNED BELL",
    "IV. THE MAN WITHOUT A HAT",
]


def contents(*lines: str) -> str:
    return "CONTENTS\n\n" + "\n".join(lines) + "\n\n\n"


@pytest.mark.parametrize(
    "listed",
    [
        STORIES,
        [title.title() for title in STORIES],
        [f"{n}. {title}" for n, title in zip(("I", "II", "III", "IV"), STORIES, strict=True)],
        [f"{title} ........ {7 + 20 * n}" for n, title in enumerate(STORIES)],
    ],
    ids=["titles", "in other case", "numbered", "with pages"],
)
def test_a_line_that_equals_a_title_of_the_contents_heads_a_chapter_whatever_its_form(listed: list[str]) -> None:
    text = contents(*listed) + book(*MIXED)

    split = split_chapters(text)

    assert first_lines(text, split) == MIXED
    assert kinds(split)[0] == "front_matter"
    assert_tiles(text, split)


def test_headings_that_change_form_on_the_way_are_one_row_of_chapters_without_contents_too() -> None:
    text = book(*MIXED)

    assert first_lines(text, split_chapters(text)) == MIXED


@pytest.mark.parametrize("with_contents", [True, False], ids=["contents", "no contents"])
def test_a_chapters_own_numbered_sections_stay_inside_it(with_contents: bool) -> None:
    sections = "\n\n".join(f"{n}.\n\n{PROSE * 2}" for n in ("I", "II", "III"))
    blocks = [f"{MIXED[0]}\n\n{sections}", MIXED[1], f"{MIXED[2]}\n\n{sections}", MIXED[3]]
    text = (contents(*STORIES) if with_contents else "") + book(*blocks)

    assert first_lines(text, split_chapters(text)) == MIXED


def test_a_title_of_the_contents_that_the_book_lacks_takes_no_other_with_it() -> None:
    text = contents(*STORIES, "THE STORY THAT WAS CUT") + book(*MIXED)

    assert first_lines(text, split_chapters(text)) == MIXED


def test_a_title_that_stands_in_the_text_too_is_no_second_heading() -> None:
    text = contents(*STORIES) + book(*MIXED[:2], f"{MIXED[2]}\n\n{PROSE}\nThe drowned bell\n\n{PROSE}", MIXED[3])

    assert first_lines(text, split_chapters(text)) == MIXED


def test_what_the_text_repeats_is_no_table_of_contents() -> None:
    lines = "My dear brother,\n\nYour affectionate sister,\n\nMartha"
    text = book(*(f"Chapter {n}\n\n{lines}" for n in (1, 2, 3)))

    assert titles(split_chapters(text)) == ["Chapter 1", "Chapter 2", "Chapter 3"]


def test_a_paragraph_that_comes_again_is_no_title_of_the_contents() -> None:
    paragraph = "A gull walked along the wall\nas if it owned the harbour, and then\nas if it did not."
    text = "CONTENTS\n\n\n" + book(*(f"{title}\n=====\n\n{paragraph}" for title in ("Rain", "Mud", "Rope")))

    assert titles(split_chapters(text)) == ["Rain", "Mud", "Rope"]


def test_scenes_are_a_plays_chapters_and_acts_their_parts() -> None:
    text = book("ACT I\n\nSCENE I. The quay.", "SCENE II. A room.", "ACT II\n\nSCENE I. The same.")

    assert titles(split_chapters(text)) == [
        "Act I, Scene I. The quay.",
        "Act I, Scene II. A room.",
        "Act II, Scene I. The same.",
    ]


@pytest.mark.parametrize(
    "headings",
    [
        ["3 May. Bistritz.", "4 May.", "Midnight, 5 May.", "May 12th"],
        ["THE LAMP", "TO A GULL", "SALT", "LOW WATER"],
        ["\n\nThe Parcel", "\n\nRope", "\n\nWhat Martha Saw", "\n\nThree Letters"],
        ["Lecture the First: On Paper", "Lecture the Second: On Thread", "Lecture the Third: On Paste"],
    ],
    ids=["dates", "capitals", "white space", "an unknown word"],
)
def test_chapters_that_nothing_numbers_are_found_by_how_their_titles_are_set(headings: list[str]) -> None:
    text = book(*headings)

    assert titles(split_chapters(text)) == [heading.strip() for heading in headings]
