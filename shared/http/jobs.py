"""Jobs: what a book waits for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, Field, model_validator

from shared.domain.books import Status
from shared.domain.stages import JobType
from shared.http.codes import Code
from shared.http.problems import problem
from shared.http.replies import described, reply, scope, told, told_if_any
from shared.http.schemas import Error, FailedAttempt, Text
from shared.ports import Catalogue


class JobPath(BaseModel):
    job_id: Text = Field(min_length=1, max_length=200)


class JobsQuery(BaseModel):
    book_id: UUID | None = None
    type: JobType | None = Field(None, description="Of this stage")
    state: Status | None = None
    limit: int = Field(50, ge=1, le=200)
    after: Text | None = Field(None, max_length=200, description="The last id of the page before")

    @model_validator(mode="after")
    def _chosen(self) -> Self:
        if self.book_id is None and self.state in (None, Status.COMPLETED):
            raise ValueError("name a book_id, or a state other than completed: there may be millions of those")
        return self


class JobReply(BaseModel):
    id: str
    book_id: UUID
    version: int
    type: JobType
    data: dict[str, Any]
    state: Status
    progress: int
    attempts: int
    max_attempts: int
    lease_expirations: int = Field(description="How often its process died, or did not renew its lease in time")
    next_attempt_at: datetime | None
    failures: list[FailedAttempt]
    result: dict[str, Any] | None
    error: Error | None
    created_at: datetime
    processed_on: datetime | None
    finished_on: datetime | None


class JobsReply(BaseModel):
    jobs: list[JobReply]
    next: str | None = Field(description="`after` for the next page, or null on the last one")


def add_jobs(app: OpenAPI, catalogue: Catalogue) -> None:
    @app.get("/api/jobs", summary="Jobs and their attempts, the newest first", **described(JobsReply))
    def list_jobs(query: JobsQuery) -> Response:
        rows = catalogue.jobs(scope(), query.book_id, query.type, query.state, query.after, query.limit + 1)
        page = [_job(row) for row in rows[: query.limit]]
        return reply(JobsReply(jobs=page, next=page[-1].id if len(rows) > query.limit else None))

    @app.get("/api/jobs/<job_id>", summary="A job", **described(JobReply, 404))
    def get_job(path: JobPath) -> Response:
        row = catalogue.job(scope(), path.job_id)
        if row is None:
            return problem(Code.UNKNOWN_JOB, "there is no such job")
        return reply(_job(row))


def _job(row: Mapping[str, Any]) -> JobReply:
    done = 100 if row["state"] == Status.COMPLETED else 0
    about = {"id": row["job_id"], "progress": done, "lease_expirations": row["abandoned"]}
    about |= {"error": told_if_any(row["error"]), "failures": [told(failure) for failure in row["failures"]]}
    return JobReply.model_validate({**row, **about})
