"""Characters and places by how their names are used: honorifics, speech, verbs, prepositions.

`gather` counts these uses in one chapter; `characters` and `places` judge the sum over as many as there are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from shared.adapters.local_models.context import lexicon
from shared.domain.contexts import Mention

Uses = dict[str, dict[str, int]]
"""For each name, how often it was used in each way. `low`: how often the word stands in lower case."""

_HONORIFIC = "Mr|Mrs|Miss|Ms|Lady|Sir|Lord|Dr|Colonel|Captain|Major|Admiral|Professor|Inspector|Count|Aunt|Uncle|Madame|Monsieur|Father|Sister"
_DOTTED = {"Mr", "Mrs", "Ms", "Dr"}
_NAME = re.compile(
    r"(?P<before>(?:[\w']{1,40}[,;:\-]*[ \"“]*)|^|[.!?\"“] *)"
    rf"(?:(?P<honorific>{_HONORIFIC})\.? )?(?P<name>[A-Z][a-zA-Z'\-]+(?: (?:de |of )?[A-Z][a-zA-Z'\-]+)*)"
    r"(?P<possessive>['’]s)?(?P<after>[,.;:!?\"”]* ?[\w']*)"
)
_CONTRACTION = re.compile(r"\w+['’](?:ve|ll|re|m|d|s|t)$")
_LOWER = re.compile(r"\b[a-z]{2,}\b")
_MIN_USES = 4


def gather(paragraphs: Iterable[str]) -> Uses:
    """The uses of everything in these paragraphs that looks like a name."""
    uses: dict[str, Counter[str]] = {}
    lower: Counter[str] = Counter()
    for paragraph in paragraphs:
        lower.update(_LOWER.findall(paragraph))
        for match in _NAME.finditer(paragraph):
            name, starts = _name(match)
            if name:
                uses.setdefault(name, Counter()).update(_uses(match, name, starts))
    return {n: {**u, "low": lower[n.lower()]} if lower[n.lower()] else dict(u) for n, u in uses.items()}


def _name(match: re.Match[str]) -> tuple[str, bool]:
    """The name without words that only begin a sentence, and whether it begins one itself."""
    parts = re.sub(r"['’]s$", "", match["name"]).strip("'-").split()
    starts = not match["honorific"] and match["before"].strip()[-1:] in ("", ".", "!", "?", '"', "“")
    while parts and parts[0] in lexicon.NO_NAME:
        parts, starts = parts[1:], False
    if not parts or (len(parts[0]) < 3 and not match["honorific"]):
        return "", False
    if (parts[0].isupper() and len(parts[0]) > 1) or _CONTRACTION.match(parts[0]):
        return "", False
    return " ".join(parts), starts


def _uses(match: re.Match[str], name: str, starts: bool) -> list[str]:
    before = re.sub(r"\W+$", "", match["before"]).lower()
    following = re.findall(r"[\w']+", match["after"])
    after = following[0].lower() if following else ""
    glued = match["before"].strip()[-1:] not in tuple(",.;:!?")
    honorific = match["honorific"]
    last = name.split()[-1]
    checks = {
        "all": True,
        "start": starts,
        "honorific": bool(honorific),
        f"as {honorific}": bool(honorific),
        "speech": after in lexicon.SPEECH or before in lexicon.SPEECH,
        "verb": after in lexicon.VERBS and not match["possessive"],
        "possessive": bool(match["possessive"]),
        "at": glued and before in lexicon.AT,
        "near": glued and before in lexicon.NEAR,
        "with": before in lexicon.WITH,
        "place": not honorific and (last in lexicon.PLACE_WORDS or last.endswith(lexicon.PLACE_ENDINGS)),
    }
    return [use for use, holds in checks.items() if holds]


def merge(chapters: Iterable[Mapping[str, Mapping[str, int]]]) -> Uses:
    total: dict[str, Counter[str]] = {}
    for chapter in chapters:
        for name, uses in chapter.items():
            total.setdefault(name, Counter()).update(uses)
    return {name: dict(uses) for name, uses in total.items()}


def characters(uses: Uses, least: int = _MIN_USES) -> list[Mention]:
    """Those who act and speak, the most named first; `Mr. Bennet` and `Mrs. Bennet` stay two."""
    found: Counter[str] = Counter()
    for name, u in uses.items():
        person, place = _scores(u)
        if not _is_name(name, u, least) or place > person or person / u["all"] <= 0.25:
            continue
        titled = {use[3:]: n for use, n in u.items() if use.startswith("as ")}
        for honorific, n in titled.items():
            if n >= min(3, least):
                found[f"{honorific}{'.' if honorific in _DOTTED else ''} {name}"] += n
        rest = u["all"] - sum(titled.values())
        if rest >= min(3, least):
            found[name] += rest
    return [Mention(name=n, count=c) for n, c in found.most_common()]


def places(uses: Uses, least: int = _MIN_USES) -> list[Mention]:
    found = {}
    for name, u in uses.items():
        person, place = _scores(u)
        if _is_name(name, u, least) and place > person:
            found[name] = u["all"]
    return [Mention(name=n, count=c) for n, c in Counter(found).most_common()]


def _is_name(name: str, u: Mapping[str, int], least: int) -> bool:
    """Not a common word that often begins sentences."""
    if u["all"] < least:
        return False
    honorific = u.get("honorific", 0)
    if u.get("low", 0) > u["all"] * 0.5 and not honorific and " " not in name:
        return False
    return u.get("start", 0) <= 0.9 * u["all"] or bool(honorific)


def _scores(u: Mapping[str, int]) -> tuple[float, float]:
    def n(use: str) -> int:
        return u.get(use, 0)

    person = 3 * n("honorific") + 3 * n("speech") + 1.5 * n("verb") + n("possessive") + n("with")
    return person, 2 * n("at") + 0.5 * n("near") + 3 * n("place")
