"""When a dependency is paused, asked again, and trusted again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.domain.breaker import FAILURES_THAT_OPEN, LONGEST_PAUSE_SECONDS, Breaker, pause_seconds

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def opened() -> Breaker:
    """Open since a second after noon, for fifteen seconds."""
    return Breaker().failed(NOON, NOON).failed(NOON, at(1))


def test_one_failure_may_be_chance_and_two_in_a_row_open_it() -> None:
    once = Breaker().failed(NOON, NOON)

    assert FAILURES_THAT_OPEN == 2
    assert once.opened_at is None
    assert once.answered(NOON) == Breaker()
    assert opened() == Breaker(failures=2, opened_at=at(1), retry_at=at(16), allowed=1)


def test_what_the_service_asks_for_opens_it_at_once_and_is_kept() -> None:
    assert Breaker().failed(NOON, NOON, 300).retry_at == at(300)
    assert opened().failed(NOON, at(2), 120).retry_at == at(122)


def test_what_was_under_way_when_it_opened_tells_nothing_new() -> None:
    assert opened().failed(at(0.5), at(2)) == opened()
    assert opened().answered(at(0.5)) == opened()


def test_it_is_paused_until_its_time_and_then_for_those_whose_permit_is_older() -> None:
    breaker = opened()

    assert breaker.is_paused(at(5), at(15))
    assert not breaker.is_paused(at(5), at(16))
    assert breaker.is_paused(at(0), at(16))
    assert not Breaker().is_paused(NOON, NOON)


def test_each_failure_of_the_one_that_asks_makes_the_pause_longer_up_to_a_minute() -> None:
    breaker, now = opened(), at(1)
    pauses = []
    for _ in range(6):
        assert breaker.retry_at is not None
        pauses.append((breaker.retry_at - now).total_seconds())
        now = breaker.retry_at
        breaker = breaker.failed(now, now)

    assert pauses == [
        15,
        30,
        LONGEST_PAUSE_SECONDS,
        LONGEST_PAUSE_SECONDS,
        LONGEST_PAUSE_SECONDS,
        LONGEST_PAUSE_SECONDS,
    ]
    assert pause_seconds(1_000_000) == LONGEST_PAUSE_SECONDS < 60


def test_answers_let_ever_more_ask_until_it_is_closed() -> None:
    breaker = opened()
    allowed = []
    while breaker.allowed is not None:
        allowed.append(breaker.allowed)
        breaker = breaker.answered(at(17))

    assert allowed == [1, 4, 16]
    assert breaker == Breaker()


def test_a_failure_while_it_opens_pauses_it_again_for_longer() -> None:
    again = opened().answered(at(17)).failed(at(18), at(19))

    assert again == Breaker(failures=3, opened_at=at(19), retry_at=at(49), allowed=1)
