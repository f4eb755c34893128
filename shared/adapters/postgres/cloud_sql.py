"""Dials Cloud SQL through its connector, with IAM instead of a password."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row


def cloud_sql_connection(instance: str, user: str, database: str) -> type[psycopg.Connection[DictRow]]:
    """A connection class for the pool. The connector needs credentials: it is made in the cloud alone."""
    from google.cloud.sql.connector import Connector

    connector = Connector(refresh_strategy="lazy", enable_iam_auth=True)

    class CloudSqlConnection(psycopg.Connection[DictRow]):
        @classmethod
        def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
            # As libpq would take them: the limits of the session.
            connection = connector.connect(instance, "psycopg", user=user, db=database, **conninfo_to_dict(conninfo))
            connection.autocommit = kwargs.get("autocommit", False)
            connection.row_factory = kwargs.get("row_factory", dict_row)
            return connection

    return CloudSqlConnection
