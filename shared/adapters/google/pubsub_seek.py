"""Seeks Pub/Sub's subscriptions and keeps their snapshots, or the emulator's where PUBSUB_EMULATOR_HOST says so.

A subscription replays what it acknowledged only if it was made with `retain_acked_messages`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.adapters.google.pubsub_retry import retry_for
from shared.domain.errors import Rejected, SnapshotExists, Unavailable, UnknownSnapshot
from shared.domain.snapshots import check_snapshot_name
from shared.domain.stages import STAGES, JobType
from shared.ports import BrokerSnapshot

if TYPE_CHECKING:
    from google.cloud import pubsub_v1

REQUEST_SECONDS = 10.0


class PubSubSeekableBroker:
    """The client is made at first use: the server forks after import. A request takes `timeout_seconds` at most."""

    def __init__(self, project: str, timeout_seconds: float = REQUEST_SECONDS) -> None:
        self._project = project
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._client: pubsub_v1.SubscriberClient | None = None

    def seek_to_time(self, topic: str, since: datetime) -> None:
        request = {"subscription": self._subscription(topic), "time": since}
        with _translated():
            self._subscriber().seek(request=request, **self._patiently())

    def seek_to_snapshot(self, topic: str, name: str) -> None:
        request = {"subscription": self._subscription(topic), "snapshot": self._snapshot(topic, name)}
        try:
            with _translated():
                self._subscriber().seek(request=request, **self._patiently())
        except _Missing:
            if any((s.topic, s.name) == (topic, name) for s in self.snapshots()):
                raise  # it is the subscription that is missing
            raise UnknownSnapshot(f"{topic} has no snapshot {name}") from None

    def create_snapshot(self, topic: str, name: str) -> None:
        request = {"subscription": self._subscription(topic), "name": self._snapshot(topic, name)}
        with _translated():
            # Not retried: if only the answer was lost, a second try would say that it exists.
            self._subscriber().create_snapshot(request=request, timeout=self._timeout_seconds, retry=None)

    def snapshots(self) -> list[BrokerSnapshot]:
        request = {"project": f"projects/{self._project}"}
        with _translated():
            found = list(self._subscriber().list_snapshots(request=request, **self._patiently()))
        ours = []
        for snapshot in found:
            topic, ident = snapshot.topic.rpartition("/")[2], snapshot.name.rpartition("/")[2]
            if topic in STAGES and ident.endswith(f"-{topic}"):
                name = ident.removesuffix(f"-{topic}")
                ours.append(BrokerSnapshot(topic=topic, name=name, expires_at=snapshot.expire_time))
        return sorted(ours, key=lambda s: (s.topic, s.name))

    def delete_snapshot(self, topic: str, name: str) -> None:
        request = {"snapshot": self._snapshot(topic, name)}
        try:
            with _translated():
                self._subscriber().delete_snapshot(request=request, timeout=self._timeout_seconds, retry=None)
        except _Missing:
            raise UnknownSnapshot(f"{topic} has no snapshot {name}") from None

    def _patiently(self) -> dict[str, Any]:
        return {"timeout": self._timeout_seconds, "retry": retry_for(self._timeout_seconds)}

    def _subscription(self, topic: str) -> str:
        return f"projects/{self._project}/subscriptions/{STAGES[_job_type(topic)].subscription}"

    def _snapshot(self, topic: str, name: str) -> str:
        return f"projects/{self._project}/snapshots/{check_snapshot_name(name)}-{_job_type(topic)}"

    def _subscriber(self) -> pubsub_v1.SubscriberClient:
        from google.cloud import pubsub_v1

        with self._lock:
            if self._client is None:
                self._client = pubsub_v1.SubscriberClient()
            return self._client


class _Missing(Unavailable):
    """Pub/Sub does not have what was named: a snapshot, or a subscription that should be there."""


def _job_type(topic: str) -> JobType:
    try:
        return JobType(topic)
    except ValueError:
        raise Rejected(f"there is no topic {topic}") from None


@contextmanager
def _translated() -> Iterator[None]:
    from google.api_core import exceptions

    try:
        yield
    except exceptions.AlreadyExists as error:
        raise SnapshotExists(f"Pub/Sub: {error.message}") from error
    except exceptions.NotFound as error:
        raise _Missing(f"Pub/Sub: {error.message}") from error
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise Unavailable(f"Pub/Sub: {type(error).__name__}: {error}") from error
