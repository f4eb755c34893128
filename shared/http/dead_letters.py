"""Dead letters: to look at, redrive and discard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from shared.domain.dead_letters import DeadLetterFilter, DeadLetterState, RedriveRequest
from shared.domain.error_codes import ErrorCode
from shared.domain.stages import JobType
from shared.http.codes import Code
from shared.http.problems import problem
from shared.http.replies import caller, described, reply, scope, told
from shared.http.schemas import FailedAttempt, Technical, Text
from shared.use_cases.redrive import RedriveDeadLetters

MAX_ID = 2**63 - 1
MAX_GROUPS = 500

# What an administrator did about a dead letter is shown to its owner, without the administrator's name and reason.
_WITHHELD = {"requested_by": "an administrator", "reason": None}


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
    code: ErrorCode
    message: str
    technical: Technical | None = Field(description="For administrators")
    fingerprint: str
    attempts: int
    times: int = Field(description="How often its job failed for good")
    first_seen: datetime
    last_seen: datetime


class DeadLettersReply(BaseModel):
    dead_letters: list[DeadLetterEntry]
    next: int | None


class GroupEntry(BaseModel):
    fingerprint: str
    stage: str
    code: ErrorCode
    message: str
    technical: Technical | None = Field(description="Of one of them: for administrators")
    dead_letters: int
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
    failures: list[FailedAttempt]
    traceback: str | None = Field(description="For administrators")
    actions: list[ActionEntry]


class DeadLetterPath(BaseModel):
    dead_letter_id: int = Field(ge=1, le=MAX_ID)


class DeadLettersBody(BaseModel):
    """Open dead letters: named by ids, or chosen by what they have in common, or all."""

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
            raise ValueError("choose dead letters by ids, stage, book_id, fingerprint, since or until, or say all")
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
    """How many dead letters of a redrive are at each outcome."""

    batch_id: UUID
    requested_at: datetime
    per_minute: int
    held: int = Field(0, description="Wait for the canary")
    waiting: int = Field(0, description="Queued: sent at the batch's rate")
    sent: int = 0
    succeeded: int = 0
    failed: int = 0
    dropped: int = Field(0, description="Not sent: stopped, resolved meanwhile, or its canary failed or was dropped")


class StopReply(BaseModel):
    stopped: int


class DiscardReply(BaseModel):
    discarded: int


def add_dead_letters(app: OpenAPI, redrive: RedriveDeadLetters) -> None:
    _add_lists(app, redrive)
    _add_redrives(app, redrive)


def _add_lists(app: OpenAPI, redrive: RedriveDeadLetters) -> None:
    known = redrive.dead_letters

    @app.get("/api/dead-letters", summary="Dead letters, the newest first", **described(DeadLettersReply))
    def list_dead_letters(query: DeadLettersQuery) -> Response:
        rows = known.page(_chosen(query), query.after, query.limit + 1)
        page = [_entry(r) for r in rows[: query.limit]]
        return reply(
            DeadLettersReply(
                dead_letters=[DeadLetterEntry.model_validate(e) for e in page],
                next=page[-1]["dead_letter_id"] if len(rows) > query.limit else None,
            )
        )

    @app.get("/api/dead-letters/groups", summary="Dead letters by their cause", **described(GroupsReply))
    def list_dead_letter_groups(query: DeadLettersQuery) -> Response:
        rows = known.groups(_chosen(query), MAX_GROUPS)
        return reply(GroupsReply(groups=[GroupEntry.model_validate(_entry(r)) for r in rows]))

    @app.get("/api/dead-letters/<dead_letter_id>", summary="A dead letter", **described(DeadLetterReply, 404))
    def get_dead_letter(path: DeadLetterPath) -> Response:
        found = known.page(DeadLetterFilter(owner_uid=scope(), ids=[path.dead_letter_id]), None, 1)
        if not found:
            return problem(Code.UNKNOWN_DEAD_LETTER, "there is no such dead letter")
        letter = _entry(found[0]) | {"actions": [dict(a) for a in known.actions(path.dead_letter_id)]}
        letter["failures"] = [told(failure) for failure in letter["failures"]]
        if not caller().admin:
            letter["traceback"] = None
            letter["actions"] = [a if a["requested_by"] == caller().uid else a | _WITHHELD for a in letter["actions"]]
        return reply(DeadLetterReply.model_validate(letter))


def _add_redrives(app: OpenAPI, redrive: RedriveDeadLetters) -> None:
    @app.post("/api/dead-letters/redrive", summary="Redrive dead letters", **described(RedriveReply))
    def redrive_dead_letters(body: RedriveBody) -> Response:
        request = RedriveRequest(
            chosen=_chosen(body), requested_by=caller().uid, canary=body.canary, per_minute=body.per_minute
        )
        return reply(RedriveReply.model_validate(asdict(redrive.redrive(request))))

    @app.get("/api/dead-letters/redrives/<batch_id>", summary="How a redrive goes", **described(BatchReply, 404))
    def get_redrive(path: BatchPath) -> Response:
        found = redrive.redrives.batch(scope(), path.batch_id)
        if found is None:
            return problem(Code.UNKNOWN_REDRIVE, "there is no such redrive")
        return reply(BatchReply.model_validate(found))

    @app.post("/api/dead-letters/redrives/<batch_id>/stop", summary="Stop a redrive", **described(StopReply, 404))
    def stop_redrive(path: BatchPath) -> Response:
        if redrive.redrives.batch(scope(), path.batch_id) is None:
            return problem(Code.UNKNOWN_REDRIVE, "there is no such redrive")
        return reply(StopReply(stopped=redrive.stop(scope(), path.batch_id, caller().uid)))

    @app.post("/api/dead-letters/discard", summary="Discard dead letters", **described(DiscardReply))
    def discard_dead_letters(body: DiscardBody) -> Response:
        return reply(DiscardReply(discarded=redrive.discard(_chosen(body), caller().uid, body.reason)))


def _chosen(choice: DeadLettersQuery | DeadLettersBody) -> DeadLetterFilter:
    """What was asked for, of what the caller may see."""
    named = choice.model_dump(include={"ids", "stage", "book_id", "fingerprint", "state", "since", "until"})
    return DeadLetterFilter(owner_uid=scope(), **{"state": DeadLetterState.OPEN, **named})


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**told(row), "stage": row["type"]}
