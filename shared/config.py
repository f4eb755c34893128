"""The configuration: one frozen object, read from the environment once; all that is wrong is said at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.domain.errors import ConfigError
from shared.domain.stages import STAGES, JobType
from shared.log import LogFormat, Logs
from shared.validation import explain

# Where Google runs a container it sets one of these, and it can be reached from outside.
_SET_IN_THE_CLOUD = (
    "K_SERVICE",
    "K_REVISION",
    "K_CONFIGURATION",
    "CLOUD_RUN_JOB",
    "CLOUD_RUN_WORKER_POOL",
    "GAE_ENV",
    "GAE_SERVICE",
    "FUNCTION_NAME",
)

_EMULATOR_HOSTS = ("PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST")


def _split(names: object) -> object:
    return names.replace(",", " ").split() if isinstance(names, str) else names


def _check_origin(name: str) -> str:
    """An origin as browsers send it: no path, no usual port, all in lower case. `*` is refused."""
    try:
        url = AnyHttpUrl(name)
    except ValidationError:
        url = None
    if url is None or url.path not in (None, "/") or url.query or url.fragment or url.username or url.password:
        raise ValueError(f"{name} is no origin: write https://app.example, with a port if it is not the usual one")
    return str(url).rstrip("/")


Origin = Annotated[str, AfterValidator(_check_origin)]


class LogConfig(BaseSettings):
    """What is needed before all else: the command line logs, too."""

    model_config = SettingsConfigDict(env_prefix="BINDERY_", frozen=True, extra="ignore", populate_by_name=True)

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")
    log_format: LogFormat = Field(
        "auto", description="Form of the logs: `json`, `console` (colours), or by whether standard error is a terminal"
    )


class Config(LogConfig):
    """Every setting is an environment variable, its name in capitals after `BINDERY_`."""

    project: str = Field("", description="Google Cloud project of Pub/Sub, Firestore, Vertex AI and Firebase")
    location: str = Field("us-central1", description="Region of Vertex AI")
    database_url: str = Field("", description="PostgreSQL DSN; or set the Cloud SQL instance")
    cloud_sql_instance: str = Field("", description="`project:region:instance`, dialled with IAM by the connector")
    database_user: str = Field("", description="IAM user of the Cloud SQL instance")
    database_name: str = Field("bindery", description="Database of the Cloud SQL instance")
    pool_size: int = Field(4, ge=1, le=100, description="Connections to PostgreSQL for each function instance")
    auth: Literal["firebase", "local"] = Field(
        "firebase", description="How callers prove who they are; `local` accepts everyone, and is refused in the cloud"
    )
    local_user: str = Field("local", description="The user that everyone is with `auth=local`")
    push_audience: str = Field("", description="Audience of Pub/Sub's OIDC tokens; needed unless `auth=local`")
    push_service_account: str = Field("", description="E-mail of the account that pushes; needed unless `auth=local`")
    models: Literal["vertex", "local", "fake"] = Field(
        "vertex", description="Where vectors and contexts come from; `fake` is for tests"
    )
    embedding_model: str = Field("text-embedding-005", description="Vertex AI's embedding model")
    context_model: str = Field("gemini-3.1-flash-lite", description="Vertex AI's generating model")
    model_prices: dict[str, tuple[NonNegativeFloat, NonNegativeFloat]] = Field(
        {},
        description="US dollars for a million tokens, read and written, for the metric of costs, as JSON:"
        ' `{"text-embedding-005": [0.1, 0]}`',
    )
    firestore_database: str = Field("(default)", description="Firestore database of the live documents")
    allowed_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_split)] = Field(
        (), description="Origins of web apps whose pages may call the API, with commas between: `https://app.example`"
    )
    max_body_bytes: int = Field(20_000_000, ge=1_000, description="Largest request body; more is answered with 413")
    max_books_under_way: int = Field(
        1000,
        ge=1,
        description="Books of one user that may be under way or wait for their turn; more is answered with 429",
    )
    # Fewer than owners are looked at for a permit: somebody who imports is among those.
    books_reembedded_at_once: int = Field(
        20, ge=1, le=45, description="Books that move to another embedding model at once"
    )
    concurrency: dict[JobType, Annotated[int, Field(ge=1, le=1000)]] = Field(
        {}, description='Jobs of a stage that may be worked on at once, as JSON: `{"embedding-generation": 10}`'
    )
    calls_at_once: int = Field(5, ge=1, le=50, description="Calls of a model that one job makes at once")
    outage_hours: float = Field(
        24, gt=0, description="Hours that a job waits for a model or another service that is away, before it fails"
    )
    failed_chapters_tolerated: float = Field(
        0.1, ge=0, le=1, description="Share of chapters that may fail before the book does"
    )
    share_vectors: bool = Field(
        False, description="Whether an equal text in books of other owners is embedded once; else once for each owner"
    )
    # Firestore's client makes 100 calls at once on its connection, and a stream with chapters is two of them.
    max_streams: int = Field(
        2,
        ge=0,
        le=45,
        description="Live streams of one process at once, each of which holds a thread; more is answered with 503",
    )
    stream_seconds: float = Field(
        240, gt=0, description="Seconds after which a live stream is closed, for clients to open the next"
    )
    stream_keepalive_seconds: float = Field(
        15, gt=0, description="Seconds after which a live stream asks again whether its user may read, and says a word"
    )
    webhooks_allow_private: bool = Field(
        False, description="Whether webhooks may go to `http://` and to private addresses: for one machine's own stack"
    )
    webhook_timeout_seconds: float = Field(15, gt=0, le=50, description="Seconds that a webhook's endpoint may take")
    webhook_disable_days: float = Field(
        5, gt=0, description="Days for which nothing succeeds, after which a webhook is disabled"
    )
    search_text_weight: float = Field(1.5, ge=0, description="Weight of words against meaning in search")
    otlp_endpoint: str = Field(
        "",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Where traces and metrics are sent, by OTLP over HTTP: `http://127.0.0.1:4318`; nowhere if not set",
    )

    @property
    def logs(self) -> Logs:
        """How the functions log. Cloud Run says which service this is and of which revision, else functions-framework
        which function."""
        service = os.environ.get("K_SERVICE") or os.environ.get("FUNCTION_TARGET", "")
        revision = os.environ.get("K_REVISION", "")
        named = {"project": self.project, "service": service, "revision": revision}
        return Logs(level=self.log_level, format=self.log_format, **named)

    @property
    def caps(self) -> Mapping[JobType, int]:
        """How many jobs of each stage may be worked on at once, over all instances."""
        return {t: self.concurrency.get(t, stage.concurrency) for t, stage in STAGES.items()}

    @property
    def local_only(self) -> bool:
        """Whether everyone is accepted, on this machine alone."""
        return self.auth == "local"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [
            name
            for name, needed in (
                ("DATABASE_URL or BINDERY_CLOUD_SQL_INSTANCE", not (self.database_url or self.cloud_sql_instance)),
                ("DATABASE_USER", self.cloud_sql_instance and not self.database_user),
                ("PROJECT", not self.project),
                ("PUSH_AUDIENCE", not self.local_only and not self.push_audience),
                ("PUSH_SERVICE_ACCOUNT", not self.local_only and not self.push_service_account),
            )
            if needed
        ]
        problems = [f"BINDERY_{name} is not set" for name in missing]
        if self.database_url and not _is_dsn(self.database_url):
            problems.append("BINDERY_DATABASE_URL is no DSN: postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
        if self.otlp_endpoint and not _is_installed("opentelemetry.exporter.otlp.proto.http.trace_exporter"):
            problems.append(
                "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: bindery[telemetry]"
            )
        if self.local_only:
            problems += self._reasons_against_local()
        if in_the_cloud := _sign_of_the_cloud():
            problems += self._reasons_against_doubles(in_the_cloud)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _reasons_against_local(self) -> list[str]:
        """Why `auth=local` is refused: it is for one machine. Two independent signs, so that one may be missing."""
        reasons = []
        if found := _sign_of_the_cloud():
            reasons.append(f"BINDERY_AUTH=local is refused in the cloud, and {found} is set")
        # Any platform, not only Google's: whose database is elsewhere is not one machine.
        if self.cloud_sql_instance or (self.database_url and not _is_on_this_machine(self.database_url)):
            reasons.append("BINDERY_AUTH=local is refused unless the database is on this machine")
        return reasons

    def _reasons_against_doubles(self, sign: str) -> list[str]:
        """The fakes and emulators that are set in the cloud: their results would look real."""
        reasons = [
            f"{name} is refused in the cloud, and {sign} is set" for name in _EMULATOR_HOSTS if name in os.environ
        ]
        if self.models == "fake":
            reasons.append(f"BINDERY_MODELS=fake is refused in the cloud, and {sign} is set")
        if self.webhooks_allow_private:
            reasons.append(f"BINDERY_WEBHOOKS_ALLOW_PRIVATE is refused in the cloud, and {sign} is set")
        return reasons


def _sign_of_the_cloud() -> str | None:
    """A variable that Google sets, if there is one."""
    return next((name for name in _SET_IN_THE_CLOUD if name in os.environ), None)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def _is_dsn(text: str) -> bool:
    """Else psycopg would quote all of it, with its password, in an error and in the log."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(text)
    except ProgrammingError:
        return False
    return True


def _is_on_this_machine(dsn: str) -> bool:
    """Whether libpq would connect to a loopback address or a socket that is not Cloud SQL's."""
    from psycopg.conninfo import conninfo_to_dict

    if not _is_dsn(dsn):
        return False
    named = conninfo_to_dict(dsn)
    if "service" in named or "PGSERVICE" in os.environ:
        return False
    by_address = named.get("hostaddr") or os.environ.get("PGHOSTADDR")
    hosts = str(by_address or named.get("host") or os.environ.get("PGHOST") or "/")
    return all(_is_local(host.strip()) for host in hosts.split(","))


def _is_local(host: str) -> bool:
    if host.startswith("/"):
        return not host.startswith("/cloudsql")
    try:
        return host in ("", "localhost") or ip_address(host).is_loopback
    except ValueError:
        return False


def read_config(**settings: Any) -> Config:
    """Read the environment; `settings` come before it. Raises ConfigError."""
    return _read(Config, settings)


def read_log_config() -> Logs:
    """How to log where there is no other configuration. Raises ConfigError."""
    config = _read(LogConfig, {})
    return Logs(level=config.log_level, format=config.log_format)


C = TypeVar("C", bound=LogConfig)


def _read(kind: type[C], settings: Mapping[str, Any]) -> C:
    try:
        return kind(**settings)
    except ValidationError as error:
        problems = [_named(e["loc"]) + explain(e, "set") for e in error.errors()]
        raise ConfigError("; ".join(problems)) from None


def _named(place: tuple[int | str, ...]) -> str:
    """The variable that is wrong, or an empty text if several are wrong together."""
    names = [part for part in place if isinstance(part, str)]
    return f"BINDERY_{'_'.join(names).upper()}: " if names else ""
