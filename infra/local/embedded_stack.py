"""The embedded backend: broker, live documents and functions in this process, PostgreSQL beside it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import functions_framework
from flask import Request
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.test import EnvironBuilder

from infra.local.database import start_database
from infra.local.ports import PortOf, any_port
from infra.local.precedence import Precedence
from infra.local.processes import OnLine
from infra.local.timer import Every
from shared import serving
from shared.adapters.memory.broker import MemoryBroker, Subscription
from shared.adapters.memory.live_documents import MemoryLiveDocuments
from shared.bootstrap import App, Overrides
from shared.config import read_config
from shared.domain.errors import ConfigError
from shared.domain.stages import MAX_DELIVERIES, MAX_REDELIVERY_SECONDS, REDELIVERY_SECONDS, STAGES, JobType, Stage

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"
RECONCILE_SECONDS = 60.0


class EmbeddedStack:
    """Runs from when it is made until `close`. `overrides` replaces ports, for tests."""

    backend = "embedded"
    because = "it needs nothing but Python packages"

    def __init__(
        self,
        data: Path,
        settings: Mapping[str, Any],
        on_line: OnLine,
        overrides: Overrides | None = None,
        *,
        port_of: PortOf = any_port,
    ) -> None:
        port = port_of("api")
        self._postgres = start_database(data / "postgres", on_line)
        self.database_url = self._postgres.dsn
        try:
            config = read_config(database_url=self.database_url, project="bindery-local", auth="local", **settings)
        except ConfigError:
            self._postgres.close()
            raise
        self.broker, self.live_documents = MemoryBroker(), MemoryLiveDocuments()
        ports: Overrides = {
            "publisher": self.broker,
            "seekable_broker": self.broker,
            "live_books": self.live_documents,
            "live_documents": self.live_documents,
        }
        self.app = App(config, ports | (overrides or {}))
        serving.install(self.app)
        api = Precedence(functions_framework.create_app("api", str(FUNCTIONS / "api.py")))  # type: ignore[no-untyped-call]
        for stage in STAGES.values():
            self.broker.subscribe(_subscription(stage, config.caps[stage.type], api))
        self._server = self._serve(api, port)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.environment = {"BINDERY_URL": self.url, "BINDERY_DATABASE_URL": self.database_url}
        self._reconcile = Every(RECONCILE_SECONDS, self.app.reconcile)

    def _serve(self, api: Precedence, port: int) -> BaseWSGIServer:
        server = make_server("127.0.0.1", port, api, threaded=True, request_handler=_Quiet)
        threading.Thread(target=server.serve_forever, name="api", daemon=True).start()
        return server

    def close(self) -> None:
        self._reconcile.close()
        self._server.shutdown()
        self._server.server_close()
        self.broker.close()
        self.app.close()
        serving.install(None)
        self._postgres.close()


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_: Any) -> None:
        """The functions log what they do; a line for each request adds nothing."""


def _subscription(stage: Stage, concurrency: int, api: Precedence) -> Subscription:
    is_dead_letter = stage.type is JobType.DEAD_LETTER
    return Subscription(
        name=stage.subscription,
        topic=stage.type,
        endpoint=_endpoint(stage, api),
        concurrency=concurrency,
        min_backoff=REDELIVERY_SECONDS,
        max_backoff=MAX_REDELIVERY_SECONDS,
        max_deliveries=MAX_DELIVERIES,
        dead_letter_topic=None if is_dead_letter else JobType.DEAD_LETTER,
    )


def _endpoint(stage: Stage, api: Precedence) -> Any:
    """Calls the deployed function itself, with the request that Pub/Sub would send."""
    function = getattr(import_module(f"functions.{stage.function}"), stage.function)

    def deliver(envelope: dict[str, Any]) -> bool:
        api.give_way()
        request = Request(EnvironBuilder(method="POST", json=envelope).get_environ())
        return bool(function(request).status_code < 300)

    return deliver
