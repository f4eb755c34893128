"""Parts of a composition root that are made at first use, once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, Self, TypeVar, cast, overload

R = TypeVar("R", bound="Root")
T = TypeVar("T")


class Root(Protocol):
    """Has parts. `overrides` stand in for parts by name; `lock` is held while one is made."""

    @property
    def overrides(self) -> Mapping[str, object]: ...

    @property
    def lock(self) -> threading.RLock: ...


class part(Generic[R, T]):
    """A part of a root: its override, or what the method makes, once however many threads ask at the same time.

    functools.cached_property has had no lock since Python 3.12: each thread would make one.
    """

    def __init__(self, make: Callable[[R], T]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, root: None, owner: type[R]) -> Self: ...

    @overload
    def __get__(self, root: R, owner: type[R]) -> T: ...

    def __get__(self, root: R | None, owner: type[R]) -> T | Self:
        if root is None:
            return self
        with root.lock:
            # From then on it is found in the instance, without this descriptor and its lock.
            made = root.__dict__
            if self._name not in made:
                known = self._name in root.overrides
                made[self._name] = root.overrides[self._name] if known else self._make(root)
            return cast(T, made[self._name])
