"""Which of Pub/Sub's errors are tried again within one call, and for how long."""

from __future__ import annotations


def retry_for(seconds: float) -> object:
    """The clients' own retries go on for minutes; the callers here wait."""
    from google.api_core import exceptions, retry

    passing = retry.if_exception_type(exceptions.ServiceUnavailable, exceptions.Aborted)
    return retry.Retry(predicate=passing, initial=0.1, maximum=2.0, timeout=seconds)
