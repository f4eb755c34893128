from __future__ import annotations

import pytest

from tests.benchmarks.headings import errors, score, together
from tests.benchmarks.manuscripts import Manuscript, manuscripts

# What is missed today; whoever finds it takes its line out.
KNOWN = {
    "manual, without contents: missed “6 When it goes wrong”",
    "lectures, without contents: missed “Lecture the Last: On Being Read”",
}


@pytest.mark.parametrize("manuscript", list(manuscripts()), ids=lambda m: m.name)
def test_the_chapters_of_every_kind_of_manuscript_are_found(manuscript: Manuscript) -> None:
    expected = {line for line in KNOWN if line.startswith(f"{manuscript.name}:")}

    assert set(errors([score(manuscript)])) == expected


@pytest.mark.parametrize("manuscript", list(manuscripts()), ids=lambda m: m.name)
def test_every_kind_of_manuscript_is_long_enough_to_be_one(manuscript: Manuscript) -> None:
    assert len(manuscript.text.split()) >= 2000


def test_a_score_counts_what_is_missed_and_what_is_wrong() -> None:
    (stories,) = [m for m in manuscripts() if m.name == "stories, with contents"]
    moved = Manuscript(name="moved", text=stories.text, headings=[0, *stories.headings[1:]], openings=[0] * 12)

    scored = together([score(moved)])

    assert (scored.expected, scored.found, scored.right) == (12, 12, 11)
