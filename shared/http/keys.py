"""Keys by which machines call the API."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.domain.api_keys import ApiKey
from shared.domain.identity import Scope
from shared.http.codes import Code
from shared.http.problems import problem
from shared.http.replies import caller, described, reply
from shared.http.schemas import Text
from shared.use_cases.api_keys import KeyRequest, ManageKeys


class KeyBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Text = Field(min_length=1, max_length=100, description="What it is for; people know it by that")
    scopes: list[Scope] = Field(
        [Scope.READ, Scope.WRITE],
        min_length=1,
        max_length=len(Scope),
        description="`admin` is given by administrators, beside the others",
    )
    owner_uid: Text | None = Field(
        None, min_length=1, max_length=128, description="For whom it acts; without it, for you. For administrators"
    )
    any_user: bool = Field(
        False, description="It acts for the user whom each request names in the header Bindery-User. For administrators"
    )
    expires_in_days: int | None = Field(None, ge=1, le=3650, description="Without it, it is valid until it is revoked")

    @model_validator(mode="after")
    def _for_one_or_any(self) -> Self:
        if self.any_user and self.owner_uid is not None:
            raise ValueError("name an owner_uid, or say any_user")
        return self


class KeyEntry(BaseModel):
    key_id: UUID
    name: str
    owner_uid: str | None = Field(description="For whom it acts; null: for whom each request names")
    scopes: list[Scope]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute")
    revoked_at: datetime | None


class KeyReply(KeyEntry):
    token: str = Field(description="What the machine sends, as `Authorization: Bearer …`. It is told this once")


class KeysReply(BaseModel):
    keys: list[KeyEntry]


class KeyPath(BaseModel):
    key_id: UUID


def add_keys(app: OpenAPI, manage: ManageKeys) -> None:
    @app.post("/api/keys", summary="Make a key for a machine", **described(KeyReply, status=201))
    def create_key(body: KeyBody) -> Response:
        key, token = manage.create(
            caller(),
            KeyRequest(
                name=body.name,
                owner_uid=None if body.any_user else body.owner_uid or caller().uid,
                scopes=frozenset(body.scopes),
                lifetime=timedelta(days=body.expires_in_days) if body.expires_in_days else None,
            ),
        )
        return reply(KeyReply(**_entry(key).model_dump(), token=token), 201)

    @app.get("/api/keys", summary="Keys that you made; for administrators, all", **described(KeysReply))
    def list_keys() -> Response:
        return reply(KeysReply(keys=[_entry(key) for key in manage.of(caller())]))

    @app.delete("/api/keys/<key_id>", summary="Revoke a key", **described(None, 404, status=204))
    def revoke_key(path: KeyPath) -> Response:
        if not manage.revoke(caller(), path.key_id):
            return problem(Code.UNKNOWN_KEY, "there is no such key; `GET /api/keys` lists them")
        return Response(status=204)


def _entry(key: ApiKey) -> KeyEntry:
    return KeyEntry.model_validate(key, from_attributes=True)
