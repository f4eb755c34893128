"""One suite for every broker, with what delivers its messages: what is published arrives as a push request."""

from __future__ import annotations

import base64
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from infra.local.emulators import Emulators, start_pubsub
from infra.local.processes import Supervisor
from shared.adapters.memory_broker import MemoryBroker, Subscription
from shared.domain.stages import STAGES, JobType
from shared.ports import Message, Publisher

STAGE, LETTERS = STAGES[JobType.EMBEDDING_GENERATION], STAGES[JobType.DEAD_LETTER]


class Endpoint:
    """Keeps the envelopes that it got, and answers as the test says."""

    def __init__(self) -> None:
        self.envelopes: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], bool] = lambda envelope: True
        self.most_at_once = self._now = 0
        self._changed = threading.Condition()

    def __call__(self, envelope: dict[str, Any]) -> bool:
        with self._changed:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        acknowledged = self.answer(envelope)
        with self._changed:
            self._now -= 1
            self.envelopes.append(envelope)
            self._changed.notify_all()
        return acknowledged

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.envelopes) >= count, 60), self.envelopes
            return list(self.envelopes)


Broker = tuple[Publisher, Endpoint, Endpoint]


@pytest.fixture(params=["memory", "emulator"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "memory":
        yield from _memory()
    else:
        yield from _emulator(request.getfixturevalue("pubsub_host"))


def _memory() -> Iterator[Broker]:
    stage, letters, broker = Endpoint(), Endpoint(), MemoryBroker()
    for row, endpoint, buried in ((STAGE, stage, LETTERS.type), (LETTERS, letters, None)):
        broker.subscribe(
            Subscription(
                name=row.subscription,
                topic=row.type,
                endpoint=endpoint,
                concurrency=row.concurrency,
                min_backoff=0.01,
                max_deliveries=5,
                dead_letter_topic=buried,
            )
        )
    yield broker, stage, letters
    broker.close()


@pytest.fixture(scope="module")
def pubsub_host(request: pytest.FixtureRequest) -> Iterator[str]:
    emulators: Emulators = request.getfixturevalue("emulators")
    supervisor = Supervisor(lambda name, line: None)
    host = os.environ["PUBSUB_EMULATOR_HOST"] = start_pubsub(supervisor, emulators, lambda: None)
    yield host
    del os.environ["PUBSUB_EMULATOR_HOST"]
    supervisor.close()


def _emulator(host: str) -> Iterator[Broker]:
    from infra.local.relay import Relay
    from infra.local.topics import create_topics
    from shared.adapters.pubsub import PubSubPublisher

    stage, letters, project = Endpoint(), Endpoint(), f"test-{uuid.uuid4().hex[:8]}"
    create_topics(project)
    create_topics(project)

    @Request.application
    def functions(request: Request) -> Response:
        endpoint = letters if request.path == "/letters" else stage
        return Response(status=204 if endpoint(request.get_json()) else 503)

    server = make_server("127.0.0.1", 0, functions, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    relay = Relay(project, {STAGE.subscription: f"{base}/stage", LETTERS.subscription: f"{base}/letters"})
    yield PubSubPublisher(project), stage, letters
    relay.close()
    server.shutdown()
    server.server_close()


def message(n: int = 0) -> Message:
    return Message(topic=STAGE.type, data={"job_id": f"job-{n}"}, attributes={"kind": "test"})


def data(envelope: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(envelope["message"]["data"]))


def test_a_message_arrives_as_productions_push_envelope(broker: Broker) -> None:
    publisher, stage, _ = broker
    publisher.publish([message(7)])

    (envelope,) = stage.wait_for(1)
    assert data(envelope) == {"job_id": "job-7"}
    assert envelope["message"]["attributes"] == {"kind": "test"}
    assert envelope["message"]["messageId"]
    assert envelope["subscription"].endswith(STAGE.subscription)
    assert envelope["deliveryAttempt"] == 1


def test_a_refused_message_comes_again_with_its_attempt_counted(broker: Broker) -> None:
    publisher, stage, _ = broker
    stage.answer = lambda envelope: envelope["deliveryAttempt"] >= 3
    publisher.publish([message()])

    assert [e["deliveryAttempt"] for e in stage.wait_for(3)] == [1, 2, 3]


def test_no_more_are_delivered_at_once_than_the_stage_takes(broker: Broker) -> None:
    publisher, stage, _ = broker
    everyone = threading.Barrier(STAGE.concurrency)
    stage.answer = lambda envelope: everyone.wait(30) >= 0
    publisher.publish([message(n) for n in range(4 * STAGE.concurrency)])

    envelopes = stage.wait_for(4 * STAGE.concurrency)
    assert stage.most_at_once == STAGE.concurrency
    assert len({data(e)["job_id"] for e in envelopes}) == 4 * STAGE.concurrency


def test_one_subscriptions_refusals_do_not_hold_up_another(broker: Broker) -> None:
    publisher, stage, letters = broker
    stage.answer = lambda envelope: False
    publisher.publish([message(), Message(topic=LETTERS.type, data={"a": 1})])

    assert data(letters.wait_for(1)[0]) == {"a": 1}


def test_exhausted_deliveries_go_to_the_dead_letter_topic_with_their_source() -> None:
    for publisher, stage, letters in _memory():
        stage.answer = lambda envelope: False
        publisher.publish([message()])
        (envelope,) = letters.wait_for(1)
        attributes = envelope["message"]["attributes"]
        assert attributes["CloudPubSubDeadLetterSourceSubscription"] == STAGE.subscription
        assert attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
        assert len(stage.envelopes) == 5
