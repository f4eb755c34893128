"""What went wrong, in words for machines. A code stays what it is, whatever the text beside it says."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Code(StrEnum):
    """Kinds of problems, each with its HTTP status and what it says in `CODES`."""

    MALFORMED_REQUEST = "malformed_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    OTHER_SITE = "other_site"
    UNKNOWN_ADDRESS = "unknown_address"
    UNKNOWN_BOOK = "unknown_book"
    UNKNOWN_CHAPTER = "unknown_chapter"
    UNKNOWN_JOB = "unknown_job"
    UNKNOWN_DEAD_LETTER = "unknown_dead_letter"
    UNKNOWN_REDRIVE = "unknown_redrive"
    UNKNOWN_REPLAY = "unknown_replay"
    UNKNOWN_SNAPSHOT = "unknown_snapshot"
    UNKNOWN_REEMBEDDING = "unknown_reembedding"
    UNKNOWN_KEY = "unknown_key"
    UNKNOWN_WEBHOOK = "unknown_webhook"
    UNKNOWN_DELIVERY = "unknown_delivery"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INVALID_STATE = "invalid_state"
    SNAPSHOT_EXISTS = "snapshot_exists"
    WEBHOOK_DISABLED = "webhook_disabled"
    TOO_MANY_WEBHOOKS = "too_many_webhooks"
    BODY_TOO_LARGE = "body_too_large"
    NOT_JSON = "not_json"
    INVALID_FIELDS = "invalid_fields"
    KEY_REUSED = "key_reused"
    EMPTY_MANUSCRIPT = "empty_manuscript"
    REJECTED = "rejected"
    TOO_MANY_BOOKS = "too_many_books"
    JOB_BUSY = "job_busy"
    UNEXPECTED = "unexpected"
    NOT_READY = "not_ready"
    TOO_MANY_STREAMS = "too_many_streams"
    UNAVAILABLE = "unavailable"


CODES: Mapping[Code, tuple[int, str]] = {
    Code.MALFORMED_REQUEST: (400, "the request can't be read"),
    Code.UNAUTHENTICATED: (401, "there is no token or key, or it is not valid: get a new one"),
    Code.FORBIDDEN: (403, "the user or the key may not do this"),
    Code.OTHER_SITE: (403, "the local stack answers this machine, and pages of origins that it was told"),
    Code.UNKNOWN_ADDRESS: (404, "the API has no such address"),
    Code.UNKNOWN_BOOK: (404, "there is no such book, or it is someone else's"),
    Code.UNKNOWN_CHAPTER: (404, "the book has no chapter of that number"),
    Code.UNKNOWN_JOB: (404, "there is no such job, or it is someone else's"),
    Code.UNKNOWN_DEAD_LETTER: (404, "there is no such dead letter, or it is someone else's"),
    Code.UNKNOWN_REDRIVE: (404, "there is no such redrive, or it is someone else's"),
    Code.UNKNOWN_REPLAY: (404, "there is no such replay"),
    Code.UNKNOWN_SNAPSHOT: (404, "there is no such snapshot, or not any more"),
    Code.UNKNOWN_REEMBEDDING: (404, "there is no such reembedding"),
    Code.UNKNOWN_KEY: (404, "there is no such key, or someone else made it"),
    Code.UNKNOWN_WEBHOOK: (404, "there is no such webhook, or it is someone else's"),
    Code.UNKNOWN_DELIVERY: (404, "the webhook has no such delivery, or not any more"),
    Code.METHOD_NOT_ALLOWED: (405, "the address has other methods: see `Allow`"),
    Code.INVALID_STATE: (409, "the book is in no state for that: read its status"),
    Code.SNAPSHOT_EXISTS: (409, "there is a snapshot of that name"),
    Code.WEBHOOK_DISABLED: (409, "nothing is sent to the webhook until it is enabled"),
    Code.TOO_MANY_WEBHOOKS: (409, "the user has as many webhooks as are allowed: delete one"),
    Code.BODY_TOO_LARGE: (413, "the body is larger than is allowed"),
    Code.NOT_JSON: (415, "the body is to be JSON"),
    Code.INVALID_FIELDS: (422, "fields are wrong; `errors` has each"),
    Code.KEY_REUSED: (422, "the idempotency key came with another request before"),
    Code.EMPTY_MANUSCRIPT: (422, "the manuscript holds no words"),
    Code.REJECTED: (422, "what was sent can never succeed"),
    Code.TOO_MANY_BOOKS: (429, "the user has as many books under way as are allowed: wait for `Retry-After`"),
    Code.JOB_BUSY: (429, "to Pub/Sub alone: deliver the message again"),
    Code.UNEXPECTED: (500, "something unexpected went wrong; it is in the logs"),
    Code.NOT_READY: (503, "to probes alone: `dependency` is what keeps the process from working"),
    Code.TOO_MANY_STREAMS: (503, "the process streams to as many clients as it may: wait for `Retry-After`"),
    Code.UNAVAILABLE: (503, "a service that is needed is down: wait for `Retry-After`"),
}
"""The status of each over HTTP, and when it is given."""
