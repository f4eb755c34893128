"""One suite for every broker, with what delivers its messages: what is published arrives as a push request."""

from __future__ import annotations

import threading
from datetime import datetime

from shared.ports import Message
from tests.support.brokers import (
    DEAD_LETTER,
    STAGE,
    Broker,
    data_of,
    memory_broker,
    message,
)


def test_a_message_arrives_as_productions_push_envelope(broker: Broker) -> None:
    publisher, stage = broker.publisher, broker.stage
    publisher.publish([message(7)])

    (envelope,) = stage.wait_for(1)
    assert data_of(envelope) == {"job_id": "job-7"}
    assert envelope["message"]["attributes"] == {"kind": "test"}
    assert envelope["message"]["messageId"]
    assert datetime.fromisoformat(envelope["message"]["publishTime"]).tzinfo
    assert envelope["subscription"].endswith(STAGE.subscription)
    assert envelope["deliveryAttempt"] == 1


def test_a_refused_message_comes_again_with_its_attempt_counted(broker: Broker) -> None:
    publisher, stage = broker.publisher, broker.stage
    stage.answer = lambda envelope: envelope["deliveryAttempt"] >= 3
    publisher.publish([message()])

    assert [e["deliveryAttempt"] for e in stage.wait_for(3)] == [1, 2, 3]


def test_no_more_are_delivered_at_once_than_the_stage_takes(broker: Broker) -> None:
    publisher, stage = broker.publisher, broker.stage
    everyone = threading.Barrier(STAGE.concurrency)
    stage.answer = lambda envelope: everyone.wait(30) in range(STAGE.concurrency)
    publisher.publish([message(n) for n in range(4 * STAGE.concurrency)])

    envelopes = stage.wait_for(4 * STAGE.concurrency)
    assert stage.most_at_once == STAGE.concurrency
    assert len({data_of(e)["job_id"] for e in envelopes}) == 4 * STAGE.concurrency


def test_one_subscriptions_refusals_do_not_hold_up_another(broker: Broker) -> None:
    publisher, stage, dead_letters = broker.publisher, broker.stage, broker.dead_letters
    stage.answer = lambda envelope: False
    publisher.publish([message(), Message(topic=DEAD_LETTER.type, data={"a": 1})])

    assert data_of(dead_letters.wait_for(1)[0]) == {"a": 1}


def test_exhausted_deliveries_go_to_the_dead_letter_topic_with_their_source() -> None:
    with memory_broker() as broker:
        broker.stage.answer = lambda envelope: False
        broker.publisher.publish([message()])
        (envelope,) = broker.dead_letters.wait_for(1)
        attributes = envelope["message"]["attributes"]
        assert attributes["CloudPubSubDeadLetterSourceSubscription"] == STAGE.subscription
        assert attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
        assert len(broker.stage.envelopes) == 5
