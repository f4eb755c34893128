"""Seek and snapshots of Google Cloud Pub/Sub, or of its emulator where PUBSUB_EMULATOR_HOST says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.domain.errors import SnapshotExists, Unavailable, UnknownSnapshot
from shared.domain.stages import STAGES, JobType
from shared.ports import BrokerSnapshot

if TYPE_CHECKING:
    from google.cloud import pubsub_v1

_SECONDS = 20.0


class PubSubRewinder:
    """A snapshot of Pub/Sub's is of one subscription: its id is the name and the topic. The client is made at first
    use: the server forks after import."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._lock = threading.Lock()
        self._made: pubsub_v1.SubscriberClient | None = None

    def rewind_to_time(self, topic: str, since: datetime) -> None:
        with self._translated():
            self._client().seek(request={"subscription": self._subscription(topic), "time": since}, timeout=_SECONDS)

    def rewind_to_snapshot(self, topic: str, name: str) -> None:
        with self._translated(name):
            request = {"subscription": self._subscription(topic), "snapshot": self._snapshot(topic, name)}
            self._client().seek(request=request, timeout=_SECONDS)

    def create_snapshot(self, topic: str, name: str) -> None:
        with self._translated(name):
            request = {"name": self._snapshot(topic, name), "subscription": self._subscription(topic)}
            self._client().create_snapshot(request=request, timeout=_SECONDS)

    def snapshots(self) -> list[BrokerSnapshot]:
        with self._translated():
            request = {"project": f"projects/{self._project}"}
            found = list(self._client().list_snapshots(request=request, timeout=_SECONDS))
        return [entry for snapshot in found if (entry := _entry(snapshot))]

    def delete_snapshot(self, topic: str, name: str) -> None:
        with self._translated(name):
            self._client().delete_snapshot(request={"snapshot": self._snapshot(topic, name)}, timeout=_SECONDS)

    @contextmanager
    def _translated(self, name: str = "") -> Iterator[None]:
        from google.api_core import exceptions

        try:
            yield
        except exceptions.NotFound as error:
            if name:
                raise UnknownSnapshot(name) from error
            raise Unavailable(f"Pub/Sub: {error}") from error
        except exceptions.AlreadyExists as error:
            raise SnapshotExists(name) from error
        except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
            raise Unavailable(f"Pub/Sub: {type(error).__name__}: {error}") from error

    def _subscription(self, topic: str) -> str:
        return f"projects/{self._project}/subscriptions/{STAGES[JobType(topic)].subscription}"

    def _snapshot(self, topic: str, name: str) -> str:
        return f"projects/{self._project}/snapshots/{name}-{topic}"

    def _client(self) -> pubsub_v1.SubscriberClient:
        from google.cloud import pubsub_v1

        with self._lock:
            if self._made is None:
                self._made = pubsub_v1.SubscriberClient()
            return self._made


def _entry(snapshot: Any) -> BrokerSnapshot | None:
    """None for a snapshot that somebody else made."""
    topic = snapshot.topic.rpartition("/")[2]
    name = snapshot.name.rpartition("/")[2].removesuffix(f"-{topic}")
    if topic not in set(STAGES) or snapshot.name.endswith(f"/{name}"):
        return None
    return BrokerSnapshot(topic=topic, name=name, expires_at=snapshot.expire_time or None)
