"""Vertex AI's errors, translated in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shared.domain.errors import ModelUnavailable, Rejected


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors that may pass into ModelUnavailable, with the delay that was asked for; others into Rejected."""
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except exceptions.BadRequest as error:
        raise Rejected(f"Vertex AI: {type(error).__name__}: {error.message}") from error
    except exceptions.GoogleAPICallError as error:
        raise ModelUnavailable(
            f"Vertex AI: {type(error).__name__}: {error.message}", retry_after=_delay(error)
        ) from error
    except (exceptions.RetryError, GoogleAuthError, OSError) as error:
        raise ModelUnavailable(f"Vertex AI: {type(error).__name__}") from error


def _delay(error: Any) -> float | None:
    """Seconds from google.rpc.RetryInfo, else from the Retry-After header."""
    for detail in error.details or ():
        if isinstance(detail, dict) and "retryDelay" in detail:  # over REST
            return float(str(detail["retryDelay"]).removesuffix("s"))
        if hasattr(detail, "retry_delay"):
            return float(detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9)
    header = getattr(error.response, "headers", {}).get("Retry-After", "")
    return float(header) if header.isdigit() else None
