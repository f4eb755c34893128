"""Verifies Google's ID tokens with certificates that are fetched once, not at every call."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from shared.domain.errors import Unauthenticated, Unavailable

CLOCK_SKEW_SECONDS = 10
_SECONDS, _PAUSE_SECONDS, _STALE_SECONDS = 5, 30, 3600  # google-auth waits for two minutes
_MAX_AGE = re.compile(r"max-age=(\d+)")


class CachedRequest:
    """A google-auth transport that keeps what it fetched for as long as its Cache-Control allows, and a while longer if
    it can't be fetched again."""

    def __init__(self, fetch: Callable[..., Any] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._kept: dict[str, tuple[float, Any]] = {}
        self._paused: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, url: str, method: str = "GET", **how: Any) -> Any:
        with self._lock:
            now, (until, known) = self._clock(), self._kept.get(url, (0.0, None))
            if known is not None and now < max(until, self._paused.get(url, 0.0)):
                return known
            may_be_stale = known is not None and now <= until + _STALE_SECONDS
            try:
                response = self._transport()(url, method=method, **{"timeout": _SECONDS, **how})
            except Exception:
                if not may_be_stale:
                    raise
                response = None
            if may_be_stale and (response is None or response.status != 200):
                # All wait here: they are not to wait for the same silence one after the other.
                self._paused[url] = now + _PAUSE_SECONDS
                return known
            age = _MAX_AGE.search(response.headers.get("cache-control", ""))
            if response.status == 200 and age:
                self._kept[url] = (now + int(age.group(1)), response)
            return response

    def _transport(self) -> Callable[..., Any]:
        if self._fetch is None:
            from google.auth.transport.requests import Request

            self._fetch = Request()
        return self._fetch


def bearer_token(authorization: str | None) -> str:
    """The token of an Authorization header. Raises Unauthenticated."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send a token: Authorization: Bearer ...")
    return token.strip()


def verified(verify: Callable[..., Any], token: str, request: CachedRequest, audience: str) -> dict[str, Any]:
    """The claims of a token that google-auth's `verify` accepts. Raises Unauthenticated, Unavailable."""
    from google.auth.exceptions import TransportError

    try:
        claims = verify(token, request, audience=audience, clock_skew_in_seconds=CLOCK_SKEW_SECONDS)
        valid = isinstance(claims, dict) and _has_begun(claims)
    except TransportError as error:
        raise Unavailable("the certificates for tokens can't be fetched") from error
    except Exception as error:
        # Tokens are untrusted: whatever error reading one ends in (RecursionError, too), it is not valid.
        raise Unauthenticated("the token is not valid here; get a new one") from error
    if not valid:
        raise Unauthenticated("the token is not valid here; get a new one")
    return dict(claims)


def _has_begun(claims: dict[str, Any]) -> bool:
    """google-auth looks at `iat` and `exp` alone."""
    return bool(claims.get("nbf", 0) <= time.time() + CLOCK_SKEW_SECONDS)
