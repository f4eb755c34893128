"""Renews the leases of attempts under way, so that leases can be short and a dead process's work is free soon."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from shared.domain.stages import Stage
from shared.pipeline.periodic import Periodic
from shared.ports import Clock, Leases

log = structlog.get_logger()


@dataclass(kw_only=True)
class Heartbeat(Periodic[tuple[UUID, datetime]]):
    """An attempt that takes longer than its stage may is not renewed any more: another may take over."""

    leases: Leases
    clock: Clock

    def hold(self, fencing_token: UUID, stage: Stage) -> AbstractContextManager[None]:
        """Renew the lease of this token until the end of the block, or of the stage's timeout."""
        return self.holding((fencing_token, self.clock() + timedelta(seconds=stage.timeout_seconds)))

    def do(self, held: Collection[tuple[UUID, datetime]]) -> None:
        """A beat that fails is made up for by the next: three fit into a lease."""
        now = self.clock()
        tokens = [token for token, end in held if now < end]
        if not tokens:
            return
        try:
            self.leases.renew(tokens)
        except Exception as error:
            log.warning("heartbeat.missed", leases=len(tokens), error_class=type(error).__name__)
