"""The configuration: complete or refused, and the open door only on one machine."""

from __future__ import annotations

import pytest

from shared.config import Config, read_config
from shared.domain.errors import ConfigError

HERE = "postgresql://bindery@127.0.0.1:5432/bindery"


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in (("AUTH", "local"), ("PROJECT", "p"), ("DATABASE_URL", HERE)):
        monkeypatch.setenv(f"BINDERY_{name}", value)
    return monkeypatch


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """All that a function needs in the cloud."""
    monkeypatch.setenv("K_SERVICE", "process-book")
    for name, value in (
        ("PROJECT", "p"),
        ("CLOUD_SQL_INSTANCE", "p:r:i"),
        ("DATABASE_USER", "bindery"),
        ("PUSH_AUDIENCE", "https://x"),
        ("PUSH_SERVICE_ACCOUNT", "a@b"),
    ):
        monkeypatch.setenv(f"BINDERY_{name}", value)
    return monkeypatch


def test_configuration_says_all_that_is_missing_at_once() -> None:
    with pytest.raises(ConfigError) as missing:
        read_config()
    for name in ("BINDERY_PROJECT", "BINDERY_DATABASE_URL", "BINDERY_PUSH_AUDIENCE", "BINDERY_PUSH_SERVICE_ACCOUNT"):
        assert name in str(missing.value)


def test_the_door_is_closed_unless_it_is_opened(local: pytest.MonkeyPatch) -> None:
    assert read_config().auth == "local"
    local.delenv("BINDERY_AUTH")
    with pytest.raises(ConfigError, match="PUSH_AUDIENCE"):
        read_config()
    assert Config.model_fields["auth"].default == "firebase"


@pytest.mark.parametrize("value", ["x", ""])
@pytest.mark.parametrize(
    "name",
    ["K_SERVICE", "K_REVISION", "K_CONFIGURATION", "CLOUD_RUN_JOB", "CLOUD_RUN_WORKER_POOL"]
    + ["GAE_ENV", "GAE_SERVICE", "FUNCTION_NAME"],
)
def test_the_open_door_is_refused_wherever_google_runs_a_container(
    local: pytest.MonkeyPatch, name: str, value: str
) -> None:
    local.setenv(name, value)

    with pytest.raises(ConfigError, match=f"refused in the cloud, and {name} is set"):
        read_config()


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://db.example.com/bindery",
        "postgresql://10.0.0.7/bindery",
        "postgresql://127.0.0.1,10.0.0.7/bindery",
        "postgresql:///bindery?host=/cloudsql/p:r:i",
        "postgresql:///bindery?host=localhost&hostaddr=10.0.0.7",
        "postgresql://localhost.example.com/bindery",
        "service=production",
        "not a DSN",
    ],
)
def test_the_open_door_is_refused_when_the_database_is_elsewhere(local: pytest.MonkeyPatch, dsn: str) -> None:
    local.setenv("BINDERY_DATABASE_URL", dsn)

    with pytest.raises(ConfigError, match="unless the database is on this machine"):
        read_config()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PGHOST", "db.example.com"), ("PGHOSTADDR", "10.0.0.7"), ("PGSERVICE", "production")],
)
def test_what_libpq_reads_from_the_environment_counts_too(local: pytest.MonkeyPatch, name: str, value: str) -> None:
    local.setenv("BINDERY_DATABASE_URL", "dbname=bindery")
    assert read_config().auth == "local"
    local.setenv(name, value)

    with pytest.raises(ConfigError, match="unless the database is on this machine"):
        read_config()


def test_a_mistyped_dsn_is_refused_without_its_password(local: pytest.MonkeyPatch) -> None:
    local.setenv("BINDERY_DATABASE_URL", "postgres//bob:hunter2@host/db")
    with pytest.raises(ConfigError) as caught:
        read_config()
    assert "BINDERY_DATABASE_URL is no DSN" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_open_door_is_refused_with_cloud_sql(local: pytest.MonkeyPatch) -> None:
    local.setenv("BINDERY_CLOUD_SQL_INSTANCE", "p:r:i")
    local.setenv("BINDERY_DATABASE_USER", "bindery")

    with pytest.raises(ConfigError, match="unless the database is on this machine"):
        read_config()


@pytest.mark.parametrize(
    "dsn",
    [HERE, "postgresql://[::1]/bindery", "postgresql:///bindery?host=/tmp/socket", "host=localhost dbname=bindery"],
)
def test_the_open_door_opens_on_one_machine(local: pytest.MonkeyPatch, dsn: str) -> None:
    local.setenv("BINDERY_DATABASE_URL", dsn)

    assert read_config().auth == "local"


@pytest.mark.parametrize("name", ["PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"])
def test_emulators_are_refused_in_the_cloud(deployed: pytest.MonkeyPatch, name: str) -> None:
    assert read_config().models == "vertex"
    deployed.setenv(name, "127.0.0.1:8085")

    with pytest.raises(ConfigError, match=f"{name} is refused in the cloud, and K_SERVICE is set"):
        read_config()


def test_fake_models_are_refused_in_the_cloud(deployed: pytest.MonkeyPatch) -> None:
    deployed.setenv("BINDERY_MODELS", "fake")

    with pytest.raises(ConfigError, match="BINDERY_MODELS=fake is refused in the cloud, and K_SERVICE is set"):
        read_config()


def test_webhooks_to_private_addresses_are_refused_in_the_cloud(deployed: pytest.MonkeyPatch) -> None:
    deployed.setenv("BINDERY_WEBHOOKS_ALLOW_PRIVATE", "true")

    with pytest.raises(ConfigError, match="BINDERY_WEBHOOKS_ALLOW_PRIVATE is refused in the cloud"):
        read_config()


def test_emulators_and_fakes_are_well_on_one_machine(local: pytest.MonkeyPatch) -> None:
    local.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:8085")
    local.setenv("BINDERY_MODELS", "fake")

    assert read_config().models == "fake"


def test_a_wrong_value_is_said_with_its_variable(local: pytest.MonkeyPatch) -> None:
    local.setenv("BINDERY_POOL_SIZE", "0")
    local.setenv("BINDERY_MODELS", "gpt")

    with pytest.raises(ConfigError) as wrong:
        read_config()
    assert "BINDERY_POOL_SIZE: is too small; set 1 or more" in str(wrong.value)
    assert "BINDERY_MODELS: is unknown; set 'vertex', 'local' or 'fake'" in str(wrong.value)
    assert "Value error" not in str(wrong.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("POOL_SIZE", "many", "is no whole number; set one"),
        ("FAILED_CHAPTERS_TOLERATED", "2", "is too large; set 1 or less"),
        ("FAILED_CHAPTERS_TOLERATED", "few", "is no number; set one"),
    ],
)
def test_a_wrong_number_is_said_in_our_own_words(local: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    local.setenv(f"BINDERY_{name}", value)

    with pytest.raises(ConfigError) as wrong:
        read_config()
    assert f"BINDERY_{name}: {said}" in str(wrong.value)


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        ("https://app.example", ("https://app.example",)),
        (" https://app.example/ ,http://b.example:8080\n", ("https://app.example", "http://b.example:8080")),
        ("HTTPS://App.Example:443", ("https://app.example",)),
        ("http://[::1]:80", ("http://[::1]",)),
    ],
)
def test_origins_are_named_with_commas_between(local: pytest.MonkeyPatch, text: str, origins: tuple[str, ...]) -> None:
    local.setenv("BINDERY_ALLOWED_ORIGINS", text)

    assert read_config().allowed_origins == origins


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "app.example",
        "https://app.example/path",
        "https://",
        "ftp://a.example",
        "https://u@a.example",
        "https://a:b",
    ],
)
def test_what_is_no_origin_is_refused(local: pytest.MonkeyPatch, text: str) -> None:
    local.setenv("BINDERY_ALLOWED_ORIGINS", text)

    with pytest.raises(ConfigError, match=r"BINDERY_ALLOWED_ORIGINS: .* is no origin"):
        read_config()
