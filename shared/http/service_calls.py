"""Calls of Google's services (Pub/Sub, Cloud Scheduler): who calls is checked, and every error is a problem."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from flask import Request, Response

from shared.domain.errors import Unauthenticated, Unavailable
from shared.domain.failures import stack_of
from shared.http.bodies import drop_body
from shared.http.errors import answer, unexpected
from shared.http.headers import secured
from shared.http.hosts import refuse_other_hosts
from shared.ports import PushVerifier

log = structlog.get_logger()


def answer_service(
    request: Request, verifier: PushVerifier, act: Callable[[], Response], *, local_only: bool
) -> Response:
    """Run `act` if the service's own account called. With `local_only`, anyone on this machine may."""
    try:
        response = refuse_other_hosts(request) if local_only else None
        if response is None:
            verifier.verify(request.headers.get("Authorization"))
            response = act()
    except (Unauthenticated, Unavailable) as error:
        if isinstance(error, Unavailable):
            log.warning("service_call.unavailable", path=request.path, error=str(error))
        response = answer(error)
    except Exception as error:
        # Else the server would log its message, which might tell of a text.
        log.error(
            "service_call.unexpected", path=request.path, error_class=type(error).__name__, stack_trace=stack_of(error)
        )
        response = unexpected()
    drop_body(request)
    return secured(response)
