"""What can go wrong on purpose. One tree, so that a caller sees at a glance what may reach it.

    BinderyError
    ├── Rejected                the input can never succeed: recorded at once, not retried
    │   ├── EmptyManuscript     the manuscript holds no words
    │   └── Blocked             a generating model refuses to answer about a text: its answer is that there is none
    ├── Unavailable             a service is down or throttling: tried again, which is no attempt
    │   ├── ModelUnavailable    a model is: its stages are paused, with one probe at a time
    │   ├── OtherModel          this function embeds by another model than the version's: `reconcile` begins it anew
    │   ├── DeliveriesExhausted the broker delivered a message as often as it may, and nobody answered
    │   └── NotPublished        the broker may not have some messages: `reconcile` sends them
    ├── LeaseLost               another delivery has taken the job over: nothing was written
    ├── Unauthenticated         the caller did not prove who they are
    ├── Forbidden               the caller is known, and may not do this
    ├── UnknownBook             there is no such book, or it is someone else's
    ├── InvalidState            the book is in no state for that
    ├── TooManyBooks            the user has as many books under way as are allowed
    ├── TooManyStreams          this process streams to as many as it may
    ├── KeyReused               an idempotency key came with another request before
    ├── UnknownWebhook          there is no such webhook, or it is someone else's
    ├── UnknownDelivery         the webhook has no such delivery
    ├── WebhookDisabled         nothing is sent to it until it is enabled
    ├── TooManyWebhooks         the user has as many as are allowed
    ├── UnknownSnapshot         there is no snapshot of this name
    ├── SnapshotExists          there is a snapshot of this name already
    └── ConfigError             the environment does not make a configuration: nothing starts

Anything else that a stage raises is unexpected, and is retried too: retrying is the default, stopping is a named error.
"""

from __future__ import annotations

from collections.abc import Collection


class BinderyError(Exception):
    """Base of the errors that are raised on purpose."""


class Rejected(BinderyError):
    """The input can never succeed, however often it is tried."""


class EmptyManuscript(Rejected):
    """The manuscript holds no words: there is nothing to split into chapters."""

    def __init__(self) -> None:
        super().__init__("the manuscript holds no words: there is nothing to split into chapters")


class Blocked(Rejected):
    """A generating model refuses to answer about this text. The message has the reason, and nothing of the text."""


class Unavailable(BinderyError):
    """A service is down or throttling. `retry_after`: seconds that the service asked for, if it did. `calls`: how many
    were made in vain."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.calls = 1


class ModelUnavailable(Unavailable):
    """A model is down, throttling, or did not answer in time."""


class OtherModel(Unavailable):
    """This function has another embedding model than the one of the version's vectors, which are all of one."""


class DeliveriesExhausted(Unavailable):
    """The broker delivered a message as often as it may, and no function answered for it."""


class NotPublished(Unavailable):
    """The broker may not have some of the messages; `indexes` are their places among those that were sent."""

    def __init__(self, message: str, indexes: Collection[int]) -> None:
        super().__init__(message)
        self.indexes = indexes


class LeaseLost(BinderyError):
    """Another delivery has taken the job over, or its version is no longer the latest: nothing was written."""


class Unauthenticated(BinderyError):
    """The caller did not prove who they are. The message leaks nothing about accounts or keys."""


class Forbidden(BinderyError):
    """The caller is known, and may not do this. The message says who may."""


class UnknownBook(BinderyError):
    """There is no such book, or it is someone else's: the two look the same."""


class InvalidState(BinderyError):
    """The book is in no state for that; the message says which it is in."""


class TooManyBooks(BinderyError):
    """The user has as many books under way as are allowed."""


class TooManyStreams(BinderyError):
    """This process streams to as many clients as it may."""


class KeyReused(BinderyError):
    """An idempotency key came with another request before."""


class UnknownWebhook(BinderyError):
    """There is no such webhook, or it is someone else's: the two look the same."""


class UnknownDelivery(BinderyError):
    """The webhook has no such delivery, or not any more."""


class WebhookDisabled(BinderyError):
    """Nothing is sent to this webhook until it is enabled."""


class TooManyWebhooks(BinderyError):
    """The user has as many webhooks as are allowed."""


class UnknownSnapshot(BinderyError):
    """There is no snapshot of this name, or not any more."""


class SnapshotExists(BinderyError):
    """There is a snapshot of this name already."""


class ConfigError(BinderyError):
    """The environment does not make a configuration. The message lists everything that is wrong."""
