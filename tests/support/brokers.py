"""Makes each broker with endpoints that record what it delivers, for the suites that hold all to one contract."""

from __future__ import annotations

import base64
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from werkzeug.wrappers import Request, Response

from shared.adapters.memory.broker import MemoryBroker, Subscription
from shared.domain.stages import STAGES, JobType
from shared.ports import Message, Publisher, SeekableBroker
from tests.support.serving import serving

STAGE, DEAD_LETTER = STAGES[JobType.EMBEDDING_GENERATION], STAGES[JobType.DEAD_LETTER]

Envelope = dict[str, Any]


class RecordingEndpoint:
    """Records the envelopes that it got. `answer` tells whether it acknowledges one."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.answer: Callable[[Envelope], bool] = lambda envelope: True
        self.most_at_once = self._now = 0
        self._changed = threading.Condition()

    def __call__(self, envelope: Envelope) -> bool:
        with self._changed:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        acknowledged = self.answer(envelope)
        with self._changed:
            self._now -= 1
            self.envelopes.append(envelope)
            self._changed.notify_all()
        return acknowledged

    def wait_for(self, count: int) -> list[Envelope]:
        return self.wait_until(lambda envelopes: len(envelopes) >= count)

    def wait_until(self, done: Callable[[list[Envelope]], bool]) -> list[Envelope]:
        with self._changed:
            assert self._changed.wait_for(lambda: done(self.envelopes), 60), self.envelopes
            return list(self.envelopes)


@dataclass(frozen=True)
class Broker:
    """`stage` and `dead_letters` get what is published to the topics of STAGE and DEAD_LETTER."""

    publisher: Publisher
    seekable_broker: SeekableBroker
    stage: RecordingEndpoint
    dead_letters: RecordingEndpoint


@contextmanager
def memory_broker() -> Iterator[Broker]:
    stage, dead_letters, broker = RecordingEndpoint(), RecordingEndpoint(), MemoryBroker()
    for row, endpoint, dead_letter_topic in ((STAGE, stage, DEAD_LETTER.type), (DEAD_LETTER, dead_letters, None)):
        broker.subscribe(
            Subscription(
                name=row.subscription,
                topic=row.type,
                endpoint=endpoint,
                concurrency=row.concurrency,
                min_backoff=0.01,
                max_backoff=1.0,
                max_deliveries=5,
                dead_letter_topic=dead_letter_topic,
            )
        )
    with closing(broker):
        yield Broker(broker, broker, stage, dead_letters)


@contextmanager
def emulated_broker() -> Iterator[Broker]:
    """Make a broker in a project of its own, on the emulator that PUBSUB_EMULATOR_HOST names."""
    from infra.local.relay import Relay
    from infra.local.topics import create_topics
    from shared.adapters.google.pubsub_publisher import PubSubPublisher
    from shared.adapters.google.pubsub_seek import PubSubSeekableBroker

    stage, dead_letters, project = RecordingEndpoint(), RecordingEndpoint(), f"test-{uuid.uuid4().hex[:8]}"
    create_topics(project)
    create_topics(project)

    @Request.application
    def functions(request: Request) -> Response:
        endpoint = dead_letters if request.path == "/dead_letters" else stage
        return Response(status=204 if endpoint(request.get_json()) else 503)

    with serving(functions) as port:
        base = f"http://127.0.0.1:{port}"
        urls = {STAGE.subscription: f"{base}/stage", DEAD_LETTER.subscription: f"{base}/dead_letters"}
        relay = Relay(project, urls, {t: stage.concurrency for t, stage in STAGES.items()})
        try:
            yield Broker(PubSubPublisher(project), PubSubSeekableBroker(project), stage, dead_letters)
        finally:
            relay.close()


def message(n: int = 0) -> Message:
    return Message(topic=STAGE.type, data={"job_id": f"job-{n}"}, attributes={"kind": "test"})


def data_of(envelope: Envelope) -> Any:
    return json.loads(base64.b64decode(envelope["message"]["data"]))
