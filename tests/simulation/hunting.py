"""Deliberate bugs, to see that a simulation has teeth: patches of the real code, and how soon each is found."""

from __future__ import annotations

import inspect
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.simulation.simulation import Report

Simulate = Callable[[int, AbstractContextManager[None]], Report]
"""Runs a seed with a mutant."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    name: str
    patch: Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Found:
    """`seed` is None if it was not found; `tried` is how many seeds ran."""

    mutant: str
    seed: int | None
    tried: int
    invariant: str
    seconds: float


class Mutants(list[Mutant]):
    """Those that one simulation finds."""

    def add(self, patch: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
        self.append(Mutant(name=patch.__name__, patch=contextmanager(patch)))
        return patch


@contextmanager
def changed(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def without(text: str, part: str, instead: str = "") -> str:
    """The text with that part replaced. If it is not there any more, the mutant must be mended."""
    assert part in text, f"this mutant does not fit the code any more: {part!r} is not in it"
    return text.replace(part, instead)


def rewritten(function: Any, part: str, instead: str) -> Any:
    """The function with a part of its source replaced."""
    source = without(textwrap.dedent(inspect.getsource(function)), part, instead)
    return _made_again(function, source)


@contextmanager
def class_rewritten(owner: type, part: str, instead: str) -> Iterator[None]:
    """The class's methods made again from its source, with a part of that replaced."""
    again = _made_again(owner, without(inspect.getsource(owner), part, instead))
    with ExitStack() as methods:
        for name, method in vars(again).items():
            # Not those that a dataclass makes.
            if inspect.isfunction(method) and method.__code__.co_filename.startswith(_MUTANT):
                methods.enter_context(changed(owner, name, method))
        yield


_MUTANT = "<mutant of "


def _made_again(what: Any, source: str) -> Any:
    made: dict[str, Any] = {}
    code = compile(source, f"{_MUTANT}{what.__qualname__}>", "exec")
    exec(code, sys.modules[what.__module__].__dict__, made)
    return made[what.__name__]


def hunt(simulate: Simulate, mutant: Mutant, found_at: Mapping[str, int], limit: int) -> Found:
    """Run the seed at which the mutant was found last, then seeds from 0 on, until an invariant breaks."""
    began, likely = time.monotonic(), found_at[mutant.name]
    seeds = [likely, *(seed for seed in range(limit) if seed != likely)]
    for tried, seed in enumerate(seeds, 1):
        report = simulate(seed, mutant.patch())
        if report.broken:
            invariant, seconds = report.broken.invariant, time.monotonic() - began
            return Found(mutant=mutant.name, seed=seed, tried=tried, invariant=invariant, seconds=seconds)
    return Found(mutant=mutant.name, seed=None, tried=len(seeds), invariant="", seconds=time.monotonic() - began)


def mutant_table(found: Mapping[str, Sequence[Found]]) -> str:
    """One row for each, by the simulation that looked for it."""
    lines = ["| mutant | in | found at seed | seeds tried | by | seconds |", "| --- | --- | --- | --- | --- | --- |"]
    for name, those in found.items():
        for f in those:
            seed = "not found" if f.seed is None else f.seed
            mutant = f.mutant.replace("_", " ")
            lines.append(f"| {mutant} | {name} | {seed} | {f.tried} | {f.invariant} | {f.seconds:.1f} |")
    return "\n".join(lines)
