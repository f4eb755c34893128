"""Pulls from the emulator and POSTs production's push envelope to the functions, with each stage's concurrency.

The emulator's own push does two requests at a time, ever, and does not say which attempt it is.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import requests
import structlog
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.scheduler import ThreadScheduler
from google.cloud.pubsub_v1.types import FlowControl

from shared.domain.push_envelope import write_envelope
from shared.domain.stages import STAGES, JobType, Stage

log = structlog.get_logger()

_END_SECONDS = 5.0
_ACKNOWLEDGES = (102, 200, 201, 202, 204)  # what production's push takes as such


class Relay:
    """`urls` has the address of each stage's function by subscription, `caps` how many requests it gets at once."""

    def __init__(self, project: str, urls: Mapping[str, str], caps: Mapping[JobType, int]) -> None:
        self._urls = urls
        self._caps = caps
        self._client = pubsub_v1.SubscriberClient()
        self._project = project
        self._local = threading.local()
        self._streams: list[Any] = []
        self.connect()

    def connect(self) -> None:
        self._streams = [self._pull(s) for s in STAGES.values() if s.subscription in self._urls]

    def disconnect(self) -> None:
        """Always before subscriptions are made again under their names: a stream that found its own there once more
        and was cancelled then, the emulator would never notice, and send it messages until their deadlines."""
        for stream in self._streams:
            stream.cancel()
        for stream in self._streams:
            # It ends with what ended it; that it has ended is all that counts.
            with suppress(Exception, CancelledError):
                stream.result(_END_SECONDS)
        self._streams = []

    def _pull(self, stage: Stage) -> Any:
        path = self._client.subscription_path(self._project, stage.subscription)
        cap = self._caps[stage.type]
        flow = FlowControl(max_messages=cap, max_lease_duration=stage.timeout_seconds + 60)
        scheduler = ThreadScheduler(ThreadPoolExecutor(cap, thread_name_prefix=stage.subscription))
        return self._client.subscribe(
            path, lambda message: self._deliver(stage, message), flow_control=flow, scheduler=scheduler
        )

    def _deliver(self, stage: Stage, message: Any) -> None:
        envelope = write_envelope(
            message.data,
            message.attributes,
            message_id=message.message_id,
            subscription=f"projects/{self._project}/subscriptions/{stage.subscription}",
            delivery_attempt=message.delivery_attempt,
            published=message.publish_time,
        )
        try:
            reply = self._session().post(self._urls[stage.subscription], json=envelope, timeout=stage.timeout_seconds)
            acknowledged = reply.status_code in _ACKNOWLEDGES
        except requests.RequestException as error:
            log.warning("relay.failed", subscription=stage.subscription, error=type(error).__name__)
            acknowledged = False
        message.ack() if acknowledged else message.nack()

    def _session(self) -> requests.Session:
        """Connections are kept, one set for each thread."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = False  # no proxy stands before the loopback interface
        session: requests.Session = self._local.session
        return session

    def close(self) -> None:
        self.disconnect()
        self._client.close()
