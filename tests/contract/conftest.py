from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.brokers import Broker, emulated_broker, memory_broker


@pytest.fixture
def emulator(pubsub_host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)


@pytest.fixture(params=["memory", "emulator"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "emulator":
        request.getfixturevalue("emulator")
    with memory_broker() if request.param == "memory" else emulated_broker() as made:
        yield made
