"""What whoever runs a process asks it, without a token: whether it serves, and whether it can work."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flask import Request, Response

from shared.domain.errors import Unavailable
from shared.http.codes import Code
from shared.http.errors import answer
from shared.http.headers import secured
from shared.http.hosts import refuse_other_hosts
from shared.http.problems import problem
from shared.ports import Clock, Gauges, Missing, Readiness, Telemetry

_WHAT_IS_MISSING: Mapping[Missing, str] = {
    Missing.POSTGRESQL: "PostgreSQL can't be reached",
    Missing.MIGRATIONS: "the database is older than this code: apply the migrations",
}


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Every function has them beside what it serves."""

    readiness: Readiness
    gauges: Gauges
    telemetry: Telemetry
    clock: Clock
    local_only: bool

    def __call__(self, request: Request) -> Response | None:
        """Answer a probe; None for any other request."""
        probes: dict[str, Callable[[], Response]] = {"/healthz": _serves, "/readyz": self._can_work}
        if self.local_only:
            probes["/metrics"] = self._metrics
        probe = probes.get(request.path)
        if probe is None or request.method not in ("GET", "HEAD"):
            return None
        refused = refuse_other_hosts(request) if self.local_only else None
        return secured(refused or probe())

    def _can_work(self) -> Response:
        missing = self.readiness.missing()
        if missing:
            return problem(Code.NOT_READY, _WHAT_IS_MISSING[missing], dependency=missing)
        return _good("ready")

    def _metrics(self) -> Response:
        """In Prometheus' text format. Those of PostgreSQL are of all processes, the others of this one."""
        try:
            self.gauges.record(self.clock())
        except Unavailable as error:
            return answer(error)
        return Response(self.telemetry.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")


def _serves() -> Response:
    return _good("serves")


def _good(status: str) -> Response:
    return Response(json.dumps({"status": status}), mimetype="application/json")
