"""Topics and subscriptions in the Pub/Sub emulator, from the one table of stages."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from google.api_core.exceptions import AlreadyExists
from google.cloud import pubsub_v1
from google.protobuf.duration_pb2 import Duration

from shared.adapters.google.pubsub_retry import retry_for
from shared.domain.stages import MAX_DELIVERIES, MAX_REDELIVERY_SECONDS, REDELIVERY_SECONDS, STAGES, JobType, Stage

RETENTION = timedelta(days=7)
"""How far back a replay can go."""

_ACK_SECONDS = (10, 600)
_SECONDS = 10.0


def create_topics(project: str) -> None:
    """Creates what is missing; safe to repeat. Raises GoogleAPICallError or RetryError soon: the client's own ten
    minutes of patience would outlast an emulator's restart."""
    patience = {"timeout": _SECONDS, "retry": retry_for(_SECONDS)}
    with pubsub_v1.PublisherClient() as publisher, pubsub_v1.SubscriberClient() as subscriber:
        for stage in STAGES.values():
            with suppress(AlreadyExists):
                publisher.create_topic(name=publisher.topic_path(project, stage.type), **patience)
        for stage in STAGES.values():
            with suppress(AlreadyExists):
                subscriber.create_subscription(_subscription(project, stage), **patience)


def _subscription(project: str, stage: Stage) -> dict[str, object]:
    low, high = _ACK_SECONDS
    request: dict[str, object] = {
        "name": f"projects/{project}/subscriptions/{stage.subscription}",
        "topic": f"projects/{project}/topics/{stage.type}",
        "ack_deadline_seconds": int(min(high, max(low, stage.timeout_seconds))),
        # Both for replays: without, a seek finds only what was not acknowledged.
        "retain_acked_messages": True,
        "message_retention_duration": Duration(seconds=int(RETENTION.total_seconds())),
        "retry_policy": {
            "minimum_backoff": Duration(seconds=int(REDELIVERY_SECONDS)),
            "maximum_backoff": Duration(seconds=int(MAX_REDELIVERY_SECONDS)),
        },
    }
    if stage.type is not JobType.DEAD_LETTER:
        request["dead_letter_policy"] = {
            "dead_letter_topic": f"projects/{project}/topics/{JobType.DEAD_LETTER}",
            "max_delivery_attempts": MAX_DELIVERIES,
        }
    return request
