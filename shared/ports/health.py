"""Whether the process can work."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Missing(StrEnum):
    """What keeps a process from working."""

    POSTGRESQL = "postgresql"
    """It can't be reached."""
    MIGRATIONS = "migrations"
    """The database lacks those that this code wants."""


class Readiness(Protocol):
    def missing(self) -> Missing | None:
        """What keeps this process from working, or None. Answers within some seconds, and raises nothing."""
        ...
