"""Replays, and their receipts."""

from __future__ import annotations

from typing import Self
from uuid import UUID

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from shared.domain.stages import JOB_TYPES, JobType
from shared.http.codes import Code
from shared.http.problems import problem
from shared.http.replies import administrator, described, reply, required_status
from shared.http.schemas import Text
from shared.ports import Catalogue
from shared.use_cases.replay import Replay, ReplayRequest

REPLAYED = JOB_TYPES


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
    """A receipt: its counts so far. `expected`: messages that it delivers again, where that is known."""

    replay_id: UUID | None = Field(description="null after a dry run")
    stage: JobType
    expected: int | None = None
    messages_redelivered: int = 0
    stages_repeated: int = 0
    model_calls: int = 0
    rows_changed: int = 0


class ReplayPath(BaseModel):
    replay_id: UUID


def add_replays(app: OpenAPI, catalogue: Catalogue, replay: Replay) -> None:
    @app.post("/api/replays", summary="Deliver messages again", **described(ReplayReply, 404, 409, status=202))
    def begin_replay(body: ReplayBody) -> Response:
        request = ReplayRequest(
            topic=body.stage,
            requested_by=administrator().uid,
            since=body.since,
            snapshot=body.snapshot,
            book_id=body.book_id,
        )
        if body.book_id:
            required_status(catalogue, body.book_id)
        expected = replay.expected(request)
        replay_id = None if body.dry_run else replay.begin(request)
        return reply(ReplayReply(replay_id=replay_id, stage=body.stage, expected=expected), 202)

    @app.get("/api/replays/<replay_id>", summary="A replay's receipt", **described(ReplayReply, 404))
    def get_replay(path: ReplayPath) -> Response:
        administrator()
        receipt = replay.replays.receipt(path.replay_id)
        if receipt is None:
            return problem(Code.UNKNOWN_REPLAY, "there is no such replay")
        return reply(ReplayReply.model_validate(dict(receipt)))
