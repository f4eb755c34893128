"""What can happen next in a simulation: functions with weights, by which one of them is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Generic, Protocol, TypeVar


class Drawing(Protocol):
    """A simulation, as far as chance is concerned."""

    rng: Random


Sim = TypeVar("Sim", bound=Drawing)


@dataclass(frozen=True, kw_only=True)
class Action(Generic[Sim]):
    """`weigh` says how likely it is now (0: impossible), `act` does it: it starts a task, or changes the world."""

    weigh: Callable[[Sim], float]
    act: Callable[[Sim], None]


class Actions(list[Action[Sim]]):
    """All that can happen in one kind of simulation."""

    def add(self, weigh: Callable[[Sim], float]) -> Callable[[Callable[[Sim], None]], Callable[[Sim], None]]:
        """For functions that do one of the things."""

        def register(act: Callable[[Sim], None]) -> Callable[[Sim], None]:
            self.append(Action(weigh=weigh, act=act))
            return act

        return register

    def do_one(self, sim: Sim) -> None:
        sim.rng.choices(self, [action.weigh(sim) for action in self])[0].act(sim)
