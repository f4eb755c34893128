"""The pool over Cloud SQL's connector, whose dialling alone is replaced: there is no Cloud SQL to dial here."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from shared.bootstrap import App
from shared.config import Config


def test_connections_come_from_one_connector_with_iam_the_limits_and_no_password(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []
    dialled: list[tuple[str, str, dict[str, Any]]] = []

    class Connector:
        def __init__(self, **how: Any) -> None:
            made.append(how)

        def connect(self, instance: str, driver: str, **how: Any) -> Any:
            dialled.append((instance, driver, how))
            return psycopg.connect(dsn, options=how["options"])

    monkeypatch.setattr("google.cloud.sql.connector.Connector", Connector)
    app = App(
        Config(
            project="p",
            push_audience="https://example.com",
            push_service_account="push@p.iam",
            cloud_sql_instance="p:r:i",
            database_user="u@p.iam",
            database_name="b",
            pool_size=2,
        )
    )
    with app.database.transaction() as connection:
        row = connection.execute("SELECT '[1,2]'::vector AS v, 1 AS n").fetchone()
        limit = connection.execute("SHOW lock_timeout").fetchone()
    with app.database.connect() as outside:
        assert outside.execute("SHOW lock_timeout").fetchone() == limit == {"lock_timeout": "3s"}
    app.close()

    assert row is not None
    assert row["n"] == 1
    assert made == [{"refresh_strategy": "lazy", "enable_iam_auth": True}]
    instance, driver, how = dialled[0]
    assert (instance, driver, how["user"], how["db"]) == ("p:r:i", "psycopg", "u@p.iam", "b")
    assert "password" not in how
