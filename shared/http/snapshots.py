"""Snapshots of the queues."""

from __future__ import annotations

from datetime import datetime

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, ConfigDict, Field

from shared.domain.stages import JobType
from shared.http.replies import administrator, described, reply
from shared.http.schemas import Text
from shared.use_cases.snapshots import Snapshots


class SnapshotPath(BaseModel):
    name: Text = Field(min_length=1, max_length=60)


class SnapshotBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,59}$")


class SnapshotEntry(BaseModel):
    name: str
    stages: list[JobType]
    expires_at: datetime | None


class SnapshotsReply(BaseModel):
    snapshots: list[SnapshotEntry]


def add_snapshots(app: OpenAPI, snapshots: Snapshots) -> None:
    @app.get("/api/snapshots", summary="Snapshots of the queues", **described(SnapshotsReply))
    def list_snapshots() -> Response:
        administrator()
        entries = [SnapshotEntry.model_validate(e) for e in snapshots.list()]
        return reply(SnapshotsReply(snapshots=entries))

    @app.post("/api/snapshots", summary="Keep what is queued", **described(SnapshotBody, 409, status=201))
    def create_snapshot(body: SnapshotBody) -> Response:
        administrator()
        snapshots.create(body.name)
        return reply(body, 201)

    @app.delete("/api/snapshots/<name>", summary="Delete a snapshot", **described(None, 404, status=204))
    def delete_snapshot(path: SnapshotPath) -> Response:
        administrator()
        snapshots.delete(path.name)
        return Response(status=204)
