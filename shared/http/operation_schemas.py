"""What the operations on books, dead letters and replays take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from shared.domain.dead_letters import DeadLetterState
from shared.domain.stages import STAGES, JobType
from shared.http.schemas import Attempt, Text

MAX_ID = 2**63 - 1
REPLAYED = tuple(t for t in STAGES if t is not JobType.DEAD_LETTER)


class ControlReply(BaseModel):
    book_id: UUID
    status: str


class DeadLettersQuery(BaseModel):
    stage: JobType | None = None
    book_id: UUID | None = None
    fingerprint: Text | None = Field(None, max_length=64)
    state: DeadLetterState | None = DeadLetterState.OPEN
    since: AwareDatetime | None = Field(None, description="Last seen at or after")
    until: AwareDatetime | None = Field(None, description="Last seen at or before")
    limit: int = Field(50, ge=1, le=500)
    after: int | None = Field(None, ge=1, le=MAX_ID, description="The last id of the page before")


class DeadLetterEntry(BaseModel):
    dead_letter_id: int
    job_id: str | None
    stage: str
    book_id: UUID | None
    version: int | None
    state: DeadLetterState
    error_class: str
    message: str
    fingerprint: str
    attempts: int
    times: int = Field(description="How often it died")
    first_seen: datetime
    last_seen: datetime


class DeadLettersReply(BaseModel):
    dead_letters: list[DeadLetterEntry]
    next: int | None


class GroupEntry(BaseModel):
    fingerprint: str
    stage: str
    error_class: str
    message: str = Field(description="Of one of them")
    letters: int
    books: int
    first_seen: datetime
    last_seen: datetime


class GroupsReply(BaseModel):
    groups: list[GroupEntry]


class ActionEntry(BaseModel):
    batch_id: UUID
    action: Literal["redrive", "discard"]
    requested_by: str
    requested_at: datetime
    reason: str | None
    is_canary: bool
    outcome: str
    finished_at: datetime | None


class DeadLetterReply(DeadLetterEntry):
    payload: dict[str, Any]
    failures: list[Attempt]
    traceback: str | None = Field(description="For administrators")
    actions: list[ActionEntry]


class DeadLetterPath(BaseModel):
    dead_letter_id: int = Field(ge=1, le=MAX_ID)


class DeadLettersBody(BaseModel):
    """Open letters: named by ids, or chosen by what they have in common, or all."""

    model_config = ConfigDict(extra="forbid")

    ids: list[int] | None = Field(None, min_length=1, max_length=500)
    stage: JobType | None = None
    book_id: UUID | None = None
    fingerprint: Text | None = Field(None, max_length=64)
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    all: bool = Field(False, description="Without any other choice, this must be true")

    @model_validator(mode="after")
    def _chosen(self) -> Self:
        chosen = (self.ids, self.stage, self.book_id, self.fingerprint, self.since, self.until)
        if not self.all and all(c is None for c in chosen):
            raise ValueError("choose letters by ids, stage, book_id, fingerprint, since or until, or say all")
        if self.ids and not all(0 < i <= MAX_ID for i in self.ids):
            raise ValueError("ids are positive numbers")
        return self


class RedriveBody(DeadLettersBody):
    canary: bool = Field(False, description="One first; the rest only if it succeeds")
    per_minute: int = Field(300, ge=1, le=500, description="How many are sent in a minute")


class DiscardBody(DeadLettersBody):
    reason: Text = Field(min_length=1, max_length=500)


class RefusalEntry(BaseModel):
    dead_letter_id: int
    reason: str


class RedriveReply(BaseModel):
    batch_id: UUID
    accepted: list[int]
    refused: list[RefusalEntry]


class BatchPath(BaseModel):
    batch_id: UUID


class BatchReply(BaseModel):
    """How many letters of a redrive are where."""

    batch_id: UUID
    requested_at: datetime
    per_minute: int
    held: int = Field(0, description="Wait for the canary")
    waiting: int = Field(0, description="Wait for their turn")
    sent: int = 0
    succeeded: int = 0
    failed: int = 0
    dropped: int = Field(0, description="Not sent: stopped, settled meanwhile, or the canary came to nothing")


class StopReply(BaseModel):
    stopped: int


class DiscardReply(BaseModel):
    discarded: int


class ReplayBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    stage: JobType
    since: AwareDatetime | None = None
    snapshot: Text | None = Field(None, min_length=1, max_length=60)
    book_id: UUID | None = None
    dry_run: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(s is not None for s in (self.since, self.snapshot, self.book_id)) != 1:
            raise ValueError("name one of since, snapshot and book_id")
        if self.stage not in REPLAYED:
            raise ValueError(f"{self.stage} is no stage that can be replayed")
        return self


class ReplayReply(BaseModel):
    """A receipt: what came of it so far. `expected`: messages that it delivers again, where that is known."""

    replay_id: UUID | None = Field(description="None after a dry run")
    stage: str
    expected: int | None = None
    messages_redelivered: int = 0
    stages_repeated: int = 0
    model_calls: int = 0
    rows_changed: int = 0


class ReplayPath(BaseModel):
    replay_id: UUID


class SnapshotPath(BaseModel):
    name: Text = Field(min_length=1, max_length=60)


class SnapshotBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,59}$")


class SnapshotEntry(BaseModel):
    name: str
    stages: list[str]
    expires_at: datetime | None


class SnapshotsReply(BaseModel):
    snapshots: list[SnapshotEntry]


class ProjectionBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    book_id: UUID | None = Field(None, description="Only this book's documents; else those of all books")


class ProjectionReply(BaseModel):
    """`books` whose live documents are written anew, by the next calls and by `reconcile`."""

    books: int


class ProjectedReply(BaseModel):
    projected: int
    left: int
