"""Jobs: what a book waits for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Response
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel, Field

from shared.domain.books import Status
from shared.domain.stages import JobType
from shared.http.codes import Code
from shared.http.problems import problem
from shared.http.replies import described, reply, scope, told, told_if_any
from shared.http.schemas import Error, FailedAttempt, Text
from shared.ports import Catalogue


class JobPath(BaseModel):
    job_id: Text = Field(min_length=1, max_length=200)


class JobReply(BaseModel):
    id: str
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


def add_jobs(app: OpenAPI, catalogue: Catalogue) -> None:
    @app.get("/api/jobs/<job_id>", summary="A job", **described(JobReply, 404))
    def job(path: JobPath) -> Response:
        row = catalogue.job(scope(), path.job_id)
        if row is None:
            return problem(Code.UNKNOWN_JOB, "there is no such job")
        done = 100 if row["state"] == Status.COMPLETED else 0
        about = {"id": row["job_id"], "progress": done, "lease_expirations": row["abandoned"]}
        about |= {"error": told_if_any(row["error"]), "failures": [told(failure) for failure in row["failures"]]}
        return reply(JobReply.model_validate({**row, **about}))
