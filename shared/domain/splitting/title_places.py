"""Finds where in the book the titles of its contents stand, in their order."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import islice, pairwise

from shared.domain.splitting.contents import Entry, TitleLines
from shared.domain.splitting.page import Page
from shared.domain.splitting.title_keys import split_label, title_keys

# Below a title there are more words than this, or another title of the same list.
_LIST_WORDS = 15
_LISTED = 3
# A title may come this many times more than it is listed; then nobody can tell which of them is meant.
_SPARE = 8
_ALIKE = 0.8
# So many lines are compared with a title that is nowhere printed as in the contents.
_LINES_COMPARED = 500
_MAX_COMPARED = 100


def title_places(page: Page, entries: Sequence[Entry], titles: TitleLines) -> dict[int, int]:
    """The line of each title, by its index among the entries: as many as stand in the contents' order."""
    known = [k for k, e in enumerate(entries) if e.key and not e.key.isdigit()]
    listed: dict[str, list[int]] = defaultdict(list)
    for k in known:
        listed[entries[k].key].append(k)
    lines = {key: titles.after(key, entries[ks[0]].stop - 1) for key, ks in listed.items()}
    lines = _of_usual_form(page, _without_lists(page, lines), listed)
    choices = []
    for key, ks in listed.items():
        spare = len(lines[key]) - len(ks)
        for nth, k in enumerate(ks if abs(spare) <= _SPARE else []):
            near = lines[key][max(nth + min(spare, 0), 0) : nth + max(spare, 0) + 1]
            choices.append((k, [line for line in near if line >= entries[k].stop]))
    found = _longest_in_order(sorted(choices))
    return found | _almost(page, entries, found)


def _without_lists(page: Page, lines: dict[str, list[int]]) -> dict[str, list[int]]:
    """Leaves out other lists of the same titles, such as a volume's own: lines with nothing between them."""
    every = sorted({line for some in lines.values() for line in some})
    dropped: set[int] = set()
    run: list[int] = []
    for line, following in pairwise([*every, len(page.words)]):
        run.append(line)
        if page.words_between(page.offsets[line + 1], page.offsets[following]) > _LIST_WORDS:
            dropped.update(run[:-1] if len(run) > _LISTED else [])
            run = []
    dropped.update(run if len(run) >= _LISTED else [])
    return {key: [line for line in some if line not in dropped] for key, some in lines.items()}


def _of_usual_form(page: Page, lines: dict[str, list[int]], listed: dict[str, list[int]]) -> dict[str, list[int]]:
    """Of a title that comes too often, those that are printed as the titles are that come but once."""
    usual = Counter(_form(page, some[0]) for some in lines.values() if len(some) == 1)
    chosen = {}
    for key, some in lines.items():
        best = max((usual[_form(page, line)] for line in some), default=0)
        ambiguous = len(some) > len(listed[key])
        chosen[key] = [line for line in some if usual[_form(page, line)] == best] if ambiguous else some
    return chosen


def _form(page: Page, i: int) -> tuple[object, ...]:
    words = page.words[i]
    return (
        words.isupper(),
        words[0].isalnum() or words[0],
        split_label(words)[1] is not None,
        min(page.blank_lines_before(i), 3),
        page.is_blank(i + 1),
    )


def _longest_in_order(choices: Sequence[tuple[int, Sequence[int]]]) -> dict[int, int]:
    """One line for as many of the titles as can be, so that the lines rise as the titles do; the earliest such."""
    ends: list[int] = []
    links: list[tuple[int, int, int]] = []
    tails: list[int] = []
    for k, lines in choices:
        for line in sorted(lines, reverse=True):
            n = bisect_left(ends, line)
            links.append((k, line, tails[n - 1] if n else -1))
            ends[n : n + 1] = [line]
            tails[n : n + 1] = [len(links) - 1]
    found: dict[int, int] = {}
    at = tails[-1] if tails else -1
    while at >= 0:
        k, line, at = links[at]
        found[k] = line
    return dict(sorted(found.items()))


def _almost(page: Page, entries: Sequence[Entry], found: dict[int, int]) -> dict[int, int]:
    """Lines that nearly are the titles still missing, between those of the titles around them."""
    also: dict[int, int] = {}
    between = max(found, default=0) - min(found, default=0) + 1
    if (between - len(found)) * 3 > len(found):
        return also
    for known, following in pairwise(found):
        before = found[known]
        for k in range(known + 1, following):
            if line := _most_alike(page, entries[k], range(before + 1, found[following])):
                also[k] = before = line
    return also


def _most_alike(page: Page, entry: Entry, lines: range) -> int:
    """The line set off by blank ones that is most like the entry, or 0."""
    wanted = (title_keys([entry.words]) or [""])[-1]
    matcher = SequenceMatcher(b=wanted, autojunk=False)
    best, most = 0, _ALIKE
    apart = (
        i
        for i in lines
        if page.words[i] and len(page.words[i]) <= _MAX_COMPARED and page.is_blank(i - 1) and page.is_blank(i + 1)
    )
    for i in islice(apart, _LINES_COMPARED):
        matcher.set_seq1((title_keys([page.words[i]]) or [""])[-1])
        if matcher.real_quick_ratio() >= most and matcher.quick_ratio() >= most and matcher.ratio() >= most:
            best, most = i, matcher.ratio()
    return best
