"""Publishes to Google Cloud Pub/Sub, or to its emulator where PUBSUB_EMULATOR_HOST says so."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared.adapters.google.pubsub_retry import retry_for
from shared.domain.errors import NotPublished
from shared.ports import Message

if TYPE_CHECKING:
    from google.cloud import pubsub_v1

# A caller of the API waits for this: better to say that the message waits, than to let them wait.
PUBLISH_SECONDS = 10.0


class PubSubPublisher:
    """The client is made at first use: the server forks after import. A call takes `timeout_seconds` at most."""

    def __init__(self, project: str, timeout_seconds: float = PUBLISH_SECONDS) -> None:
        self._project = project
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._client: pubsub_v1.PublisherClient | None = None

    def publish(self, messages: Sequence[Message]) -> None:
        from google.api_core.exceptions import GoogleAPICallError, RetryError

        failed: dict[int, Exception] = {}
        for index, future in enumerate([self._send(m) for m in messages]):
            try:
                future.result(timeout=self._timeout_seconds)
            except (GoogleAPICallError, RetryError, TimeoutError) as error:
                failed[index] = error
        if failed:
            first = next(iter(failed.values()))
            raise NotPublished(f"Pub/Sub: {type(first).__name__}: {first}", failed) from first

    def _send(self, message: Message) -> pubsub_v1.publisher.futures.Future:
        client = self._publisher()
        topic = client.topic_path(self._project, message.topic)
        return client.publish(
            topic,
            json.dumps(message.data).encode(),
            timeout=self._timeout_seconds,
            retry=retry_for(self._timeout_seconds),
            **message.attributes,
        )

    def _publisher(self) -> pubsub_v1.PublisherClient:
        from google.cloud import pubsub_v1

        with self._lock:
            if self._client is None:
                self._client = pubsub_v1.PublisherClient()
            return self._client
