"""An embedded stack whose live documents are in Google's Firestore emulator too: what apps listen to, and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.local.embedded_stack import EmbeddedStack
from infra.local.emulators import Emulators, start_firestore
from infra.local.ports import PortOf
from infra.local.processes import OnLine, Supervisor
from infra.local.stack import Stack, run_stack
from shared.adapters.google.firestore import FirestoreLiveDocuments
from shared.bootstrap import Overrides
from shared.ports import Document, LiveDocuments, Tombstone

PROJECT = "bindery-local"


class EveryStore:
    """Live documents that are written to several stores."""

    def __init__(self, *stores: LiveDocuments) -> None:
        self.stores = list(stores)

    def put(self, documents: Sequence[Document]) -> None:
        for store in self.stores:
            store.put(documents)

    def delete(self, tombstones: Sequence[Tombstone]) -> None:
        for store in self.stores:
            store.delete(tombstones)

    def older_than(self, revision: int, limit: int) -> Sequence[str]:
        return self.stores[0].older_than(revision, limit)

    def newest_revision(self) -> int:
        return max(store.newest_revision() for store in self.stores)


@contextmanager
def run_embedded_stack(data: Path, emulators: Emulators | None, overrides: Overrides) -> Iterator[Stack]:
    """Runs until the end of the block; commands find it by its data folder. Without emulators, live documents are in
    memory alone."""
    supervisor = Supervisor(lambda name, line: None)
    live: dict[str, str] = {}
    every_store = EveryStore()

    class TestStack(EmbeddedStack):
        def __init__(self, data: Path, settings: Mapping[str, Any], on_line: OnLine, *, port_of: PortOf) -> None:
            ports: Overrides = {**overrides, "live_documents": every_store}
            super().__init__(data, settings, on_line, ports, port_of=port_of)
            # What the stack streams to commands itself.
            every_store.stores.append(self.live_documents)
            self.environment |= live

    with pytest.MonkeyPatch.context() as patch:
        try:
            if emulators:
                host = start_firestore(supervisor, emulators)
                patch.setenv("FIRESTORE_EMULATOR_HOST", host)
                live = {"GOOGLE_CLOUD_PROJECT": PROJECT, "FIRESTORE_EMULATOR_HOST": host}
                every_store.stores.append(FirestoreLiveDocuments(PROJECT))
            patch.setattr("infra.local.embedded_stack.EmbeddedStack", TestStack)
            with run_stack(data, "embedded", lambda name, line: None, models="fake") as stack:
                yield stack
        finally:
            supervisor.close()
