"""Virtual time: the world's, what each process takes it for, and what PostgreSQL shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.simulation.real.watch import Watch

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """The time of the world, which nobody in it can read: only moments that have passed can be compared with it."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class ProcessClock:
    """What one machine takes the time for: `ahead` of the world's by so many seconds."""

    def __init__(self, world: VirtualClock, ahead: float) -> None:
        self._world, self.ahead = world, ahead

    def __call__(self) -> datetime:
        return self._world.now + timedelta(seconds=self.ahead)


# A sequence is outside of transactions: every session sees the time that was set last.
CREATE_VIRTUAL_CLOCK = """
    CREATE SEQUENCE IF NOT EXISTS virtual_microseconds MINVALUE 0 START 0;
    CREATE OR REPLACE FUNCTION virtual_clock() RETURNS timestamptz LANGUAGE sql VOLATILE
        RETURN '2026-01-01T00:00:00Z'::timestamptz
            + (SELECT last_value FROM virtual_microseconds) * interval '1 microsecond';
"""
SET_VIRTUAL_CLOCK = "SELECT setval('virtual_microseconds', %s)"

# What the product's statements call to read PostgreSQL's clock.
REAL_CLOCK, VIRTUAL_CLOCK = "clock_timestamp()", "virtual_clock()"


class DatabaseClock:
    """PostgreSQL's time in a simulation's database: the world's, whatever the processes' clocks show."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._shown: datetime | None = None
        watch.execute(CREATE_VIRTUAL_CLOCK)

    def show(self, now: datetime) -> None:
        if now != self._shown:
            self._watch.execute(SET_VIRTUAL_CLOCK, int((now - BEGIN) / timedelta(microseconds=1)))
            self._shown = now
