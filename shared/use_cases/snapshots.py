"""Snapshots of all stages' queues under one name: to go back to, after a deployment that went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.domain.errors import UnknownSnapshot
from shared.domain.stages import JOB_TYPES, JobType
from shared.ports import SeekableBroker


@dataclass(frozen=True, kw_only=True)
class Snapshots:
    broker: SeekableBroker

    def create(self, name: str) -> None:
        """Keep what every stage's queue holds now. Raises SnapshotExists, Unavailable."""
        for topic in _topics():
            self.broker.create_snapshot(topic, name)

    def list(self) -> list[Mapping[str, Any]]:
        """List them by name: their stages, and until when they are kept."""
        found: dict[str, dict[str, Any]] = {}
        for snapshot in self.broker.snapshots():
            entry = found.setdefault(snapshot.name, {"name": snapshot.name, "stages": [], "expires_at": None})
            entry["stages"].append(snapshot.topic)
            entry["expires_at"] = snapshot.expires_at
        return list(found.values())

    def delete(self, name: str) -> None:
        """Forget it for every stage. Raises UnknownSnapshot, Unavailable."""
        topics = [s.topic for s in self.broker.snapshots() if s.name == name]
        if not topics:
            raise UnknownSnapshot(name)
        for topic in topics:
            self.broker.delete_snapshot(topic, name)


def _topics() -> list[JobType]:
    return list(JOB_TYPES)
