"""Sends what is due to users' endpoints: claim, POST outside of any transaction, record.

A crash at any point leaves a lease that runs out, and the delivery is sent again: at least once, with the same id.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from shared.domain.webhooks import ClaimedDelivery, judge, signed_headers
from shared.pipeline.at_once import raise_one_of
from shared.ports import AtOnce, Clock, WebhookDeliveries, WebhookSender

AT_ONCE = 8
"""Endpoints that one run sends to at once: a slow one holds up no other."""

# A run begins nothing later than this; what is left is found by `reconcile`.
RUN = timedelta(seconds=60)

# Name servers may be slow beside the endpoint.
LEASE_BEYOND_TIMEOUT = timedelta(seconds=120)

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class DeliverWebhooks:
    """`timeout` is an attempt's. `random` gives numbers in [0, 1)."""

    deliveries: WebhookDeliveries
    sender: WebhookSender
    at_once: AtOnce
    clock: Clock
    new_id: Callable[[], UUID]
    random: Callable[[], float]
    timeout: timedelta
    disable_after: timedelta

    def __call__(self) -> int:
        """Attempt all that is due, and return how many that were. Safe to run twice at once. Raises Unavailable."""
        until = self.clock() + RUN
        lanes = self.deliveries.due(self.clock(), AT_ONCE)
        ended = self.at_once([lambda: self._send_until(until)] * lanes)
        raise_one_of(e for e in ended if isinstance(e, Exception))
        attempted = sum(n for n in ended if isinstance(n, int))
        log.info("notify.done", attempted=attempted)
        return attempted

    def _send_until(self, until: datetime) -> int:
        attempted = 0
        while (now := self.clock()) < until:
            claimed = self.deliveries.claim(self.new_id(), now + self.timeout + LEASE_BEYOND_TIMEOUT, now)
            if claimed is None:
                break
            self._attempt(claimed)
            attempted += 1
        return attempted

    def _attempt(self, claimed: ClaimedDelivery) -> None:
        body = json.dumps(claimed.payload, ensure_ascii=False, sort_keys=True).encode()
        headers = signed_headers(claimed.secret, claimed.event_id, self.clock(), body)
        answer = self.sender.send(claimed.url, headers, body)
        now = self.clock()
        verdict = judge(claimed, answer, now, self.random(), self.disable_after)
        is_recorded = self.deliveries.record(claimed, answer, verdict, now)
        log.info(
            "webhook.attempt" if is_recorded else "webhook.overtaken",
            webhook_id=str(claimed.webhook_id),
            delivery_id=claimed.delivery_id,
            state=verdict.state,
            status=answer.status,
            error=answer.error,
            disabled=verdict.disabled_because,
        )
