"""What nobody means to send: envelopes that are none, and manuscripts that are hardly text.

Of an envelope that can't be read the answer is 204, and a dead letter: anything else would bring it back for ever.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.adapters.local_models.context import LocalContextExtractor
from shared.domain.push_envelope import MAX_ID
from shared.domain.splitting.words import has_word
from shared.domain.stages import STAGES, JobType
from tests.support.world import World

# The same examples at every run: a red build can be repeated.
fuzz = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def encoded(value: object) -> str:
    return base64.b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).decode()


def message(**more: object) -> dict[str, object]:
    """A good one, changed; None takes a field away."""
    good: dict[str, object] = {"data": encoded({"job_id": "chapter-1"}), "messageId": "1", "attributes": {}}
    return {"message": {k: v for k, v in (good | more).items() if v is not None}}


def data(value: object) -> dict[str, object]:
    return message(data=encoded(value))


def raw(text: str) -> dict[str, object]:
    return message(data=encoded(text.encode(errors="surrogatepass")))


MALFORMED: dict[str, object] = {
    # The body: bytes are sent as they are, all else as JSON.
    "nothing": b"",
    "white space": b" \r\n\t",
    "not JSON": b"{not json",
    "JSON and more": b"{} {}",
    "half of the JSON": b'{"message": {"data": "',
    "bytes that are no UTF-8": b"\xff\xfe\xfa\x80",
    "UTF-16": '{"message": 1}'.encode("utf-16"),
    "NULs": b"\0" * 100,
    "a form": b"message=1&data=2",
    "XML": b"<?xml version='1.0'?><message/>",
    "arrays nested deeply": b"[" * 100_000,
    "objects nested deeply": b'{"message":' * 50_000 + b"1" + b"}" * 50_000,
    "a number of 10,000 digits": b"9" * 10_000,
    "null": None,
    "true": True,
    "a number": 17,
    "a huge exponent": b"1e400",
    "not a number": b"NaN",
    "a text": "message",
    "an array": [],
    "an array of envelopes": [message()],
    "an empty object": {},
    # The message.
    "message is null": {"message": None},
    "message is a text": {"message": "hello"},
    "message is an array": {"message": ["data"]},
    "message is a number": {"message": 1.5},
    "message is empty": {"message": {}},
    "message in capitals": {"MESSAGE": {"data": encoded({"job_id": "x"}), "messageId": "1"}},
    "a message of another cloud": {"Records": [{"body": "{}", "messageId": "1"}]},
    # Its id.
    "no message id": message(messageId=None),
    "message id is null": b'{"message": {"data": "e30=", "messageId": null}}',
    "message id is an object": message(messageId={"id": 1}),
    "message id is a number": message(messageId=12345),
    "message id is empty": message(messageId=""),
    "message id holds a NUL": message(messageId="1\0"),
    "message id is half a surrogate": message(messageId="\ud800"),
    "message id longer than an index takes": message(messageId="é" * 5_000),
    # Its attributes.
    "attributes are an array": message(attributes=["recorded"]),
    "attributes are a text": message(attributes="recorded=true"),
    "an attribute is a number": message(attributes={"CloudPubSubDeadLetterSourceDeliveryCount": 5}),
    "an attribute holds a NUL": message(attributes={"CloudPubSubDeadLetterSourceSubscription": "a\0b"}),
    "an attribute is half a surrogate": message(attributes={"CloudPubSubDeadLetterSourceSubscription": "\udc00"}),
    # Its data.
    "no data": message(data=None),
    "data is empty": message(data=""),
    "data is a number": message(data=7),
    "data is an object": message(data={"job_id": "chapter-1"}),
    "data is not base64": message(data="!!"),
    "data is base64 for addresses": message(data="-_-_"),
    "data lacks its padding": message(data="e30"),
    "data is not ASCII": message(data="é="),
    "data is not JSON": message(data=encoded(b"hello")),
    "data is no UTF-8": message(data=encoded(b"\xff\xfe\xfa")),
    "data is nested deeply": message(data=encoded(b'{"a":' * 50_000)),
    "data is null": data(None),
    "data is an array": data([]),
    "data is a text": data("chapter-1"),
    # The job that it names.
    "no job id": data({}),
    "job id is null": data({"job_id": None}),
    "job id is a number": data({"job_id": 1}),
    "job id is an array": data({"job_id": ["chapter-1"]}),
    "job id is empty": data({"job_id": ""}),
    "job id holds a NUL": data({"job_id": "chapter-\0"}),
    "job id is half a surrogate": raw('{"job_id": "\\ud800"}'),
    "job id is too long": data({"job_id": "x" * 100_000}),
    "no job id, and a NUL elsewhere": data({"text": "\0"}),
    "no job id, and not a number elsewhere": raw('{"value": NaN}'),
}


@pytest.fixture
def world(lasting_world: World) -> Iterator[World]:
    yield lasting_world
    recorded(lasting_world)


def recorded(world: World) -> list[dict[str, Any]]:
    """What was recorded since the last time."""
    return world.rows("DELETE FROM dead_letters RETURNING type, error_class")


def push(world: World, topic: JobType, body: object) -> int:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return int(world.push_bytes(topic, sent).status_code)


def test_the_table_has_no_case_twice() -> None:
    assert len(MALFORMED) >= 50
    assert len({repr(envelope) for envelope in MALFORMED.values()}) == len(MALFORMED)


@pytest.mark.parametrize("topic", STAGES)
@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_envelope_is_recorded_once_and_acknowledged(world: World, case: str, topic: JobType) -> None:
    assert [push(world, topic, MALFORMED[case]) for _ in range(2)] == [204, 204]
    assert recorded(world) == [{"type": topic, "error_class": "Rejected"}]
    assert world.broker.published == []


anything = st.text(st.characters(exclude_categories=()), max_size=50)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | anything,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(anything, inner, max_size=4),
    max_leaves=15,
)
unreadable_data = anything | values.map(encoded) | st.binary(max_size=100).map(encoded) | values
envelopes = values | st.fixed_dictionaries(
    {"message": values | st.fixed_dictionaries({"data": unreadable_data, "messageId": anything | values})}
)
topics = st.sampled_from(list(STAGES))


@fuzz
@given(topics, envelopes)
def test_any_json_is_recorded_and_acknowledged(world: World, topic: JobType, envelope: object) -> None:
    assert push(world, topic, envelope) == 204
    assert len(recorded(world)) == 1


@fuzz
@given(topics, st.binary(max_size=2_000))
def test_any_bytes_are_recorded_and_acknowledged(world: World, topic: JobType, body: bytes) -> None:
    assert push(world, topic, body) == 204
    assert len(recorded(world)) == 1


@fuzz
@given(topics, anything, st.dictionaries(anything, anything, max_size=3), values)
def test_a_message_of_a_job_that_nobody_knows_is_acknowledged(
    world: World, topic: JobType, job_id: str, attributes: dict[str, str], more: object
) -> None:
    known = message(data=encoded({"job_id": job_id, "more": more}), attributes=attributes, deliveryAttempt=more)

    assert push(world, topic, known) == 204
    is_readable = 0 < len(job_id) <= MAX_ID and all(map(can_be_kept, (job_id, *attributes.values())))
    assert len(recorded(world)) == (0 if is_readable else 1)


def can_be_kept(text: str) -> bool:
    """Whether it is without NUL and halves of surrogate pairs, when it has been JSON."""
    received = json.loads(json.dumps(text))
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in received)


@pytest.fixture(scope="module")
def with_local_rules(lasting_world: World) -> Iterator[World]:
    """Reads chapters with the local rules, not with the fake."""
    made = World(lasting_world.dsn, overrides={"extractor": LocalContextExtractor()}, max_books_under_way=100_000)
    yield made
    made.close()


def outcome(world: World, content: str) -> str:
    """The status of the book that it becomes, in the end; `refused` if it was refused as a text without a word."""
    reply = world.post({"title": "A Book", "content": content})
    if reply.status_code == 422:
        assert "holds no words" in reply.json["detail"]
        return "refused"
    world.run()
    status = world.status(reply.json["book_id"])
    assert status["chapters"]["failed"] == 0
    recorded(world)
    return str(status["status"])


letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
controls = st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Zs"], exclude_characters="\0")
headings = st.sampled_from(
    ["CHAPTER 1", "Chapter the Last", "# Part I", "II.", "PROLOGUE", "## ", "***", "פרק א", "第一章", "CHAPTER 1"]
)
pieces = st.one_of(
    st.text(letters, max_size=200),
    st.text(controls, max_size=40),
    headings.map(lambda h: f"\n\n{h}\n\n"),
    st.sampled_from(["\r\n", "\n\n", "\u2028", "\ufeff", "\u202e", "e\u0301" * 20, "👩‍👩‍👧", "שלום עולם. ", "مرحبا. "]),
    st.tuples(letters, st.integers(1, 3_000)).map(lambda t: t[0] * t[1]),
)
manuscripts = st.lists(pieces, min_size=1, max_size=12).map("".join).filter(bool)


@settings(fuzz, max_examples=40)
@given(manuscripts)
def test_any_text_with_a_word_becomes_a_book(with_local_rules: World, content: str) -> None:
    assert outcome(with_local_rules, content) == ("completed" if has_word(content) else "refused")


ODD = {
    "one word": "word",
    "one letter": "a",
    "one letter that no one sees": "\u200b",
    "a byte order mark": "\ufeff",
    "only white space": " \n\t\u2003",
    "only headings": "CHAPTER 1\n\nCHAPTER 2\n\nCHAPTER 3\n",
    "only marks of headings": "# \n## \n### \n",
    "only punctuation": "... !!! ??? --- ***\n" * 50,
    "control characters": "".join(map(chr, range(1, 32))) * 50,
    "from right to left": "\u202e" + "פרק א\n\n" + "שלום עולם. " * 400,
    "without a space": "春はあけぼの。やうやう白くなりゆく山ぎは、すこしあかりて、" * 500,
    "combining marks": "Z\u0351\u036b\u0343\u036a" * 2_000,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈" * 2_000,
    "a letter 100,000 times": "x" * 100_000,
    "a space 100,000 times": " " * 100_000 + "end",
    "a newline 100,000 times": "\n" * 100_000 + "end",
    "a dot 100,000 times": "." * 100_000,
    "a number sign 100,000 times": "#" * 100_000,
    "a word 100,000 times": "word " * 100_000,
    "a heading 2,000 times": "CHAPTER 1\n\n" * 2_000 + "end",
    "words of 2,000 letters": " ".join(f"{n:04}" + "x" * 1_996 for n in range(300)),
    "old ends of lines": "CHAPTER 1\r\rIt rained.\r\rCHAPTER 2\r\rIt stopped.\r",
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_manuscript_becomes_a_book_if_it_has_a_word(with_local_rules: World, case: str) -> None:
    assert outcome(with_local_rules, ODD[case]) == ("completed" if has_word(ODD[case]) else "refused")


@fuzz
@given(st.dictionaries(anything, values, max_size=3) | st.fixed_dictionaries({"title": anything, "content": anything}))
def test_any_import_is_accepted_or_says_what_is_wrong(world: World, body: dict[str, object]) -> None:
    reply = world.post(body)
    world.broker.waiting.clear()
    world.broker.published.clear()

    assert reply.status_code in {202, 422}
    if reply.status_code == 422:
        assert reply.content_type == "application/problem+json"
        problems = [e["problem"] for e in reply.json.get("errors", [{"problem": reply.json["detail"]}])]
        assert problems
        assert all(problems)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"title":' * 50_000, b"\xff", b"", b"9" * 10_000, b"NaN"])
def test_a_body_that_no_parser_takes_is_a_bad_request(world: World, body: bytes) -> None:
    head = {"Authorization": "Bearer ann", "Content-Type": "application/json"}

    assert world.http.post("/api/books/import", data=body, headers=head).status_code == 400
