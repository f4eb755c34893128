"""Messages, and the broker that carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Message:
    """`data` is JSON of ids, never text of a book."""

    topic: str
    data: Mapping[str, Any]
    attributes: Mapping[str, str] = field(default_factory=dict)


class Publisher(Protocol):
    def publish(self, messages: Sequence[Message]) -> None:
        """Send all messages; returns when the broker has them. They arrive at least once, in any order.

        Raises NotPublished, which names those that the broker may not have; or Unavailable: it may have none.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class BrokerSnapshot:
    """What one topic's subscription had still to deliver at a moment. The broker forgets it at `expires_at`."""

    topic: str
    name: str
    expires_at: datetime | None


class SeekableBroker(Protocol):
    """A broker whose subscriptions can be sought, so that what was delivered is delivered again. Topics are JobTypes.

    All raise Rejected for a topic that is not there, or a name that no snapshot can have.
    """

    def seek_to_time(self, topic: str, since: datetime) -> None:
        """Deliver again what was published at `since` or later, acknowledged or not, as far back as the broker
        remembers. What was published earlier counts as acknowledged."""
        ...

    def seek_to_snapshot(self, topic: str, name: str) -> None:
        """Deliver again what was not acknowledged when the snapshot was made, and all that was published since.
        The rest counts as acknowledged. Raises UnknownSnapshot."""
        ...

    def create_snapshot(self, topic: str, name: str) -> None:
        """Keep what is not acknowledged now under this name. Raises SnapshotExists, also if it is repeated."""
        ...

    def snapshots(self) -> list[BrokerSnapshot]:
        """List those of all topics, by topic and name."""
        ...

    def delete_snapshot(self, topic: str, name: str) -> None:
        """Forget it. Raises UnknownSnapshot, also if it is repeated."""
        ...
