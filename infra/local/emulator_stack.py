"""The emulators backend: Google's emulators, each function in processes of its own, and a relay between them."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from infra.local.database import project_again, publish_again, start_database
from infra.local.embedded_stack import FUNCTIONS, RECONCILE_SECONDS
from infra.local.emulators import Emulators, start_firestore, start_pubsub
from infra.local.ports import PortOf, any_port
from infra.local.processes import Command, OnLine, Supervisor, free_port, is_listening
from infra.local.relay import Relay
from infra.local.timer import Every
from infra.local.topics import create_topics
from shared.config import read_config
from shared.domain.stages import STAGES

PROJECT = "bindery-local"
_THREADS = 8  # of functions that no queue limits
_LINE_OF_FUNCTION = re.compile(r"(\w+) (\d+) (.*)")
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
        port_of: PortOf = any_port,
    ) -> None:
        self._publishes_again, self._port_of = publishes_again, port_of
        self._api_port = port_of("api")
        self._postgres = start_database(data / "postgres", on_line)
        self.database_url = self._postgres.dsn
        self._making_topics = threading.Lock()
        self._on_line, self._pids = on_line, dict[str, int]()
        self._emulators, self._functions = Supervisor(on_line), Supervisor(self._tell)
        try:
            config = read_config(database_url=self.database_url, project=PROJECT, auth="local", **settings)
            self._caps, self._streams = config.caps, config.max_streams
            self._start(settings, emulators)
        except BaseException:
            self._close_processes()
            raise

    def _start(self, settings: Mapping[str, Any], emulators: Emulators) -> None:
        pubsub = start_pubsub(self._emulators, emulators, self._make_topics, port_of=self._port_of)
        firestore = start_firestore(self._emulators, emulators, self._project_all, port_of=self._port_of)
        self._hosts = {"PUBSUB_EMULATOR_HOST": pubsub, "FIRESTORE_EMULATOR_HOST": firestore}
        # The clients of this process (topics, relay) read it at their making.
        os.environ.update(self._hosts)
        create_topics(PROJECT)
        self._topics_of = self.pid("pubsub")
        urls = self._start_functions(settings)
        self.url, self._reconcile_url = urls["api"], urls["reconcile"]
        self._relay = Relay(PROJECT, {s.subscription: urls[s.function] for s in STAGES.values()}, self._caps)
        self._reconcile = Every(RECONCILE_SECONDS, self._call_reconcile)
        self.environment = {
            "BINDERY_URL": self.url,
            "BINDERY_DATABASE_URL": self.database_url,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            **self._hosts,
        }

    def _start_functions(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Return their addresses by their names."""
        # A live stream holds a thread of the API: as many as there may be are held for them.
        threads = {"api": _THREADS + self._streams, "reconcile": _THREADS}
        threads |= {s.function: self._caps[s.type] for s in STAGES.values()}
        ports = {name: free_port() for name in threads} | {"api": self._api_port}
        inherited = {k: v for k, v in os.environ.items() if k not in _NOT_FOR_CHILDREN}
        own = {f"BINDERY_{k.upper()}": str(v) for k, v in settings.items()}
        own |= {"BINDERY_PROJECT": PROJECT, "BINDERY_DATABASE_URL": self.database_url, "BINDERY_AUTH": "local"}
        servers = [f"{FUNCTIONS / name}.py:{port}:{threads[name]}" for name, port in ports.items()]
        command = Command(
            name="functions",
            argv=[sys.executable, "-m", "infra.local.function_servers", *servers],
            env={**inherited, **self._hosts, **own},
            ready=lambda: all(map(is_listening, ports.values())),
            seconds=90,
        )
        self._functions.start(command)
        return {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}

    def _tell(self, process: str, line: str) -> None:
        """Hand on a line of a process, or of the function that it says it is of."""
        if process == "functions" and (found := _LINE_OF_FUNCTION.match(line)):
            process, pid, line = found.groups()
            self._pids[process] = int(pid)
        self._on_line(process, line)

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
        """Of the server of a function (by its name), or the watchdog of `pubsub`, `firestore` or `postgres`. Raises
        KeyError."""
        if name == "postgres":
            return self._postgres.pid
        if name in ("pubsub", "firestore"):
            return self._emulators.pid(name)
        return self._pids[name]

    def close(self) -> None:
        self._reconcile.close()
        self._relay.close()
        self._close_processes()

    def _close_processes(self) -> None:
        """Each after those that use it."""
        self._functions.close()
        self._emulators.close()
        self._postgres.close()
