"""How every session of PostgreSQL is opened: how long it may wait, work and be silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from shared.domain.stages import STAGES

# Both ends notice within 20 seconds that the other's machine is gone; by default it takes hours, and the server keeps
# the locks that long.
_KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3}
_TCP_USER_TIMEOUT = {"tcp_user_timeout": 20_000}


@dataclass(frozen=True, kw_only=True)
class SessionLimits:
    """What ends a statement or a session, in seconds; 0 is no limit.

    `lock`: the longest wait for a lock. Whoever calls the API waits about 10 s, and those who wait for one row hold
    connections that others need: there is time for three rounds of them. Work under a lock takes far less.

    `idle_in_transaction`: the longest silence within a transaction. Ours only ask PostgreSQL, one statement after
    another: such a process hangs, or is gone, and others wait for its rows.

    `statement`: the longest statement. No push request lives longer than the slowest stage, so nobody waits for an
    answer any more. A long one may be in order: what retention or a deletion drops takes long.
    """

    lock: float = 3.0
    idle_in_transaction: float = 10.0
    statement: float = max(stage.timeout_seconds for stage in STAGES.values())

    @property
    def settings(self) -> dict[str, int]:
        """PostgreSQL's names for them, and the server's end of the keepalives."""
        return {
            "lock_timeout": round(self.lock * 1000),
            "idle_in_transaction_session_timeout": round(self.idle_in_transaction * 1000),
            "statement_timeout": round(self.statement * 1000),
            **{f"tcp_{name}": value for name, value in _KEEPALIVE.items()},
            **_TCP_USER_TIMEOUT,
        }


def limited(dsn: str, limits: SessionLimits) -> str:
    """The DSN with what its sessions are opened with. What it says itself holds."""
    known = conninfo_to_dict(dsn)
    # Of two that set the same, the last one counts.
    options = [f"-c {name}={value}" for name, value in limits.settings.items()] + [str(known.pop("options", ""))]
    ours: dict[str, Any] = {**_KEEPALIVE, **_TCP_USER_TIMEOUT, **known, "options": " ".join(options).strip()}
    return make_conninfo(**ours)
