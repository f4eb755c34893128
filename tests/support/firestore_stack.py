"""An embedded stack whose live documents are in Google's Firestore emulator: what apps listen to, without the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.local.embedded_stack import EmbeddedStack
from infra.local.emulators import Emulators, start_firestore
from infra.local.processes import OnLine, Supervisor
from infra.local.stack import Stack, run_stack
from shared.adapters.google.firestore import FirestoreLiveDocuments
from shared.bootstrap import Overrides

PROJECT = "bindery-local"


@contextmanager
def run_embedded_stack(data: Path, emulators: Emulators | None, overrides: Overrides) -> Iterator[Stack]:
    """Runs until the end of the block; commands find it by its data folder. Without emulators, live documents are in
    memory."""

    class TestStack(EmbeddedStack):
        def __init__(self, data: Path, settings: Mapping[str, Any], on_line: OnLine) -> None:
            super().__init__(data, settings, on_line, overrides)
            self.environment |= live

    supervisor = Supervisor(lambda name, line: None)
    live: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        try:
            if emulators:
                live = {
                    "GOOGLE_CLOUD_PROJECT": PROJECT,
                    "FIRESTORE_EMULATOR_HOST": start_firestore(supervisor, emulators),
                }
                overrides = {**overrides, "live_documents": FirestoreLiveDocuments(PROJECT)}
                patch.setenv("FIRESTORE_EMULATOR_HOST", live["FIRESTORE_EMULATOR_HOST"])
            patch.setattr("infra.local.embedded_stack.EmbeddedStack", TestStack)
            with run_stack(data, "embedded", lambda name, line: None, models="fake") as stack:
                yield stack
        finally:
            supervisor.close()
