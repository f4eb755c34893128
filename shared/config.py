"""The configuration: one frozen object, read from the environment once; all that is wrong is said at once."""

from __future__ import annotations

import os
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ConfigError(Exception):
    """The environment does not make a configuration. The message lists everything that is wrong."""


class Config(BaseSettings):
    """Every setting is an environment variable, its name in capitals after `BINDERY_`."""

    model_config = SettingsConfigDict(env_prefix="BINDERY_", frozen=True, extra="ignore")

    project: str = Field("", description="Google Cloud project of Pub/Sub, Firestore, Vertex AI and Firebase")
    location: str = Field("us-central1", description="Region of Vertex AI")
    database_url: str = Field("", description="PostgreSQL DSN; or set the Cloud SQL instance")
    cloud_sql_instance: str = Field("", description="`project:region:instance`, dialled with IAM by the connector")
    database_user: str = Field("", description="IAM user of the Cloud SQL instance")
    database_name: str = Field("bindery", description="Database of the Cloud SQL instance")
    pool_size: int = Field(4, ge=1, le=100, description="Connections to PostgreSQL for each function instance")
    auth: Literal["firebase", "local"] = Field(
        "firebase", description="Who is asked who a caller is; `local` lets anyone in, and is refused in the cloud"
    )
    local_user: str = Field("local", description="The user that everyone is with `auth=local`")
    push_audience: str = Field("", description="Audience of Pub/Sub's OIDC tokens; needed unless `auth=local`")
    push_service_account: str = Field("", description="E-mail of the account that pushes; needed unless `auth=local`")
    models: Literal["vertex", "local", "fake"] = Field(
        "vertex", description="Where vectors and contexts come from; `fake` is for tests"
    )
    embedding_model: str = Field("text-embedding-005", description="Vertex AI's embedding model")
    context_model: str = Field("gemini-3.1-flash-lite", description="Vertex AI's generating model")
    firestore_database: str = Field("(default)", description="Firestore database of the live documents")
    max_body_bytes: int = Field(20_000_000, ge=1_000, description="Largest request body; more is answered with 413")
    max_books_under_way: int = Field(
        50, ge=1, description="Books of one user that may be under way at once; more is answered with 429"
    )
    failed_chapters_tolerated: float = Field(
        0.1, ge=0, le=1, description="Share of chapters that may fail before the book does"
    )
    search_text_weight: float = Field(1.5, ge=0, description="Weight of words against meaning in search")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [
            name
            for name, needed in (
                ("DATABASE_URL or BINDERY_CLOUD_SQL_INSTANCE", not (self.database_url or self.cloud_sql_instance)),
                ("DATABASE_USER", self.cloud_sql_instance and not self.database_user),
                ("PROJECT", not self.project),
                ("PUSH_AUDIENCE", self.auth == "firebase" and not self.push_audience),
                ("PUSH_SERVICE_ACCOUNT", self.auth == "firebase" and not self.push_service_account),
            )
            if needed
        ]
        problems = [f"BINDERY_{name} is not set" for name in missing]
        # Cloud Run sets K_SERVICE: one forgotten variable must not open the door there.
        if self.auth == "local" and os.environ.get("K_SERVICE"):
            problems.append("BINDERY_AUTH=local is refused in the cloud")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def read_config() -> Config:
    """Reads the environment. Raises ConfigError."""
    try:
        return Config()
    except ValidationError as error:
        problems = [f"{'_'.join(map(str, e['loc'])).upper()} {e['msg']}".strip() for e in error.errors()]
        raise ConfigError("; ".join(problems)) from None
