"""Replays: delivers messages again, and keeps a receipt of what that changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from shared.domain.errors import InvalidState
from shared.domain.stages import JobType
from shared.pipeline.outbox import Outbox
from shared.ports import Clock, Replays, SeekableBroker

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ReplayRequest:
    """One of `since`, `snapshot` and `book_id` says what to deliver again."""

    topic: JobType
    requested_by: str
    since: datetime | None = None
    snapshot: str | None = None
    book_id: UUID | None = None

    @property
    def source(self) -> Mapping[str, Any]:
        known = {"since": self.since and self.since.isoformat(), "snapshot": self.snapshot}
        return {k: v for k, v in (*known.items(), ("book_id", self.book_id and str(self.book_id))) if v}


@dataclass(frozen=True, kw_only=True)
class Replay:
    replays: Replays
    broker: SeekableBroker
    outbox: Outbox
    clock: Clock
    new_id: Callable[[], UUID]

    def expected(self, request: ReplayRequest) -> int | None:
        """Count the messages that it would deliver again; None where only the broker knows.

        Raises InvalidState if nothing of the book can be delivered again.
        """
        if request.snapshot:
            return None
        count = self.replays.count(request.topic, request.since, request.book_id)
        if request.book_id and not count:
            raise InvalidState(
                f"the book has no ended job of {request.topic} to deliver again: none was needed, or it was dropped"
            )
        return count

    def begin(self, request: ReplayRequest) -> UUID:
        """Start delivering, and return the receipt's id. Raises UnknownSnapshot, Unavailable."""
        replay_id = self.new_id()
        self.replays.begin(
            replay_id, request.topic, request.source, request.requested_by, request.book_id, self.clock()
        )
        log.info("replay.begun", topic=request.topic, replay_id=str(replay_id))
        if request.since:
            self.broker.seek_to_time(request.topic, request.since)
        elif request.snapshot:
            self.broker.seek_to_snapshot(request.topic, request.snapshot)
        elif request.book_id:
            self.outbox.repeat(self.replays.jobs(request.topic, request.book_id))
        return replay_id
