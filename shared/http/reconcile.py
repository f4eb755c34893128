"""Cloud Scheduler's request, each minute."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from flask import Request, Response, jsonify

from shared.domain.trace_context import TRACEPARENT
from shared.http.service_calls import answer_service
from shared.ports import PushVerifier, Telemetry
from shared.use_cases.reconcile import Reconcile


@dataclass(frozen=True, kw_only=True)
class ReconcileEndpoint:
    """Answers with what was done. 503 if something could not be done: the next run tries again."""

    verifier: PushVerifier
    reconcile: Reconcile
    telemetry: Telemetry
    local_only: bool

    def __call__(self, request: Request) -> Response:
        def run() -> Response:
            with self.telemetry.span("reconcile", parent=request.headers.get(TRACEPARENT), kind="server"):
                return jsonify(asdict(self.reconcile()))

        return answer_service(request, self.verifier, run, local_only=self.local_only)
