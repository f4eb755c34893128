"""What can go wrong, as the runner sees it.

    BinderyError
    ├── Rejected      the input can never succeed: recorded at once, not retried
    └── Unavailable   a service is down or throttling: retried, honouring `retry_after`

Anything else that is raised is unexpected, and is retried too: retrying is the default, stopping is a
named error.
"""

from __future__ import annotations


class BinderyError(Exception):
    """Base of the errors that adapters and stages raise on purpose."""


class Rejected(BinderyError):
    """The input can never succeed, however often it is tried."""


class Unavailable(BinderyError):
    """A service is down or throttling. `retry_after`: seconds that the service asked for, if it did."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
