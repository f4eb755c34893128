"""The emulators backend: Google's emulators, each function in a process of its own, and a relay between them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from infra.local.database import project_again, publish_again, start_database
from infra.local.embedded_stack import FUNCTIONS, RECONCILE_SECONDS
from infra.local.emulators import Emulators, start_firestore, start_pubsub
from infra.local.processes import Command, OnLine, Supervisor, free_port, is_listening
from infra.local.relay import Relay
from infra.local.timer import Every
from infra.local.topics import create_topics
from shared.config import read_config
from shared.domain.stages import STAGES

PROJECT = "bindery-local"
_NOT_FOR_CHILDREN = ("GOOGLE_APPLICATION_CREDENTIALS",)


class EmulatorStack:
    """Runs from when it is made until `close`. What dies is started again.

    `publishes_again`: whether messages that a dead emulator lost are published at once. In the cloud nobody does
    that but `reconcile`, each minute.
    """

    backend = "emulators"
    because = "gcloud's emulators and Java are here"

    def __init__(
        self,
        data: Path,
        settings: Mapping[str, Any],
        on_line: OnLine,
        emulators: Emulators,
        *,
        publishes_again: bool = True,
    ) -> None:
        self._publishes_again = publishes_again
        self._postgres = start_database(data / "postgres", on_line)
        self.database_url = self._postgres.dsn
        self._making_topics = threading.Lock()
        self._emulators, self._functions = Supervisor(on_line), Supervisor(on_line)
        try:
            config = read_config(database_url=self.database_url, project=PROJECT, auth="local", **settings)
            self._caps = config.caps
            self._start(settings, emulators)
        except BaseException:
            self._close_processes()
            raise

    def _start(self, settings: Mapping[str, Any], emulators: Emulators) -> None:
        pubsub = start_pubsub(self._emulators, emulators, self._make_topics)
        firestore = start_firestore(self._emulators, emulators, self._project_all)
        self._hosts = {"PUBSUB_EMULATOR_HOST": pubsub, "FIRESTORE_EMULATOR_HOST": firestore}
        # The clients of this process (topics, relay) read it at their making.
        os.environ.update(self._hosts)
        create_topics(PROJECT)
        self._topics_of = self.pid("pubsub")
        names = ["api", "reconcile", *(s.function for s in STAGES.values())]
        with ThreadPoolExecutor(4) as pool:
            urls = dict(zip(names, pool.map(lambda n: self._start_function(n, settings), names), strict=True))
        self.url, self._reconcile_url = urls["api"], urls["reconcile"]
        self._relay = Relay(PROJECT, {s.subscription: urls[s.function] for s in STAGES.values()}, self._caps)
        self._reconcile = Every(RECONCILE_SECONDS, self._call_reconcile)
        self.environment = {
            "BINDERY_URL": self.url,
            "BINDERY_DATABASE_URL": self.database_url,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            **self._hosts,
        }

    def _start_function(self, name: str, settings: Mapping[str, Any]) -> str:
        port = free_port()
        source = str(FUNCTIONS / f"{name}.py")
        threads = next((self._caps[s.type] for s in STAGES.values() if s.function == name), 8)
        inherited = {k: v for k, v in os.environ.items() if k not in _NOT_FOR_CHILDREN}
        own = {f"BINDERY_{k.upper()}": str(v) for k, v in settings.items()}
        own |= {"BINDERY_PROJECT": PROJECT, "BINDERY_DATABASE_URL": self.database_url, "BINDERY_AUTH": "local"}
        own |= {"FUNCTION_TARGET": name, "FUNCTION_SOURCE": source, "THREADS": str(threads), "WORKERS": "1"}
        argv = [sys.executable, "-m", "infra.local.function_server", "--host=127.0.0.1", f"--port={port}"]
        command = Command(
            name=name,
            argv=argv,
            env={**inherited, **self._hosts, **own},
            ready=lambda: is_listening(port),
            seconds=90,
        )
        self._functions.start(command)
        return f"http://127.0.0.1:{port}"

    def _make_topics(self) -> None:
        """Make topics again, and publish again, since the Pub/Sub emulator forgot everything."""
        with self._making_topics:
            if self._topics_of != (pid := self.pid("pubsub")):
                self._relay.disconnect()
                create_topics(PROJECT)
                if pid != self.pid("pubsub"):
                    return  # it died meanwhile; we are called for the next one, too
                self._relay.connect()
                self._topics_of = pid
        if self._publishes_again:
            publish_again(self.database_url)
            self._call_reconcile()

    def _project_all(self) -> None:
        """Write all documents again, from PostgreSQL, since the Firestore emulator forgot everything."""
        project_again(self.database_url)
        while self._call_reconcile()["projected"]:
            pass

    def _call_reconcile(self) -> Mapping[str, Any]:
        with requests.Session() as session:
            session.trust_env = False  # no proxy stands before the loopback interface
            reply = session.post(self._reconcile_url, timeout=60)
        reply.raise_for_status()
        return reply.json()  # type: ignore[no-any-return]

    def pid(self, name: str) -> int:
        """Of the watchdog of a function (by its name), of `pubsub`, `firestore` or `postgres`. Raises KeyError."""
        if name == "postgres":
            return self._postgres.pid
        return (self._emulators if name in ("pubsub", "firestore") else self._functions).pid(name)

    def close(self) -> None:
        self._reconcile.close()
        self._relay.close()
        self._close_processes()

    def _close_processes(self) -> None:
        """Each after those that use it."""
        self._functions.close()
        self._emulators.close()
        self._postgres.close()
