"""Google's emulators: found, started once, restarted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import psutil
import pytest
import requests

from infra.local.emulators import Emulators, Missing, find_emulators, start_pubsub
from infra.local.processes import Supervisor

Patch = pytest.MonkeyPatch
DEADLINE = 60


@pytest.fixture(scope="module")
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor(lambda name, line: None)
    yield made
    made.close()


@pytest.fixture(scope="module")
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands before the loopback interface
        yield session


def test_without_an_sdk_the_reason_names_what_to_install(monkeypatch: Patch, tmp_path: Path) -> None:
    for name in ("BINDERY_EMULATORS_HOME", "CLOUDSDK_ROOT", "CLOUDSDK_ROOT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    found = find_emulators()

    assert isinstance(found, Missing)
    assert "install the Google Cloud SDK" in found.reason


def test_an_sdk_without_the_emulators_says_how_to_add_them(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setenv("BINDERY_EMULATORS_HOME", str(tmp_path))

    found = find_emulators()

    assert isinstance(found, Missing)
    assert "gcloud components install pubsub-emulator" in found.reason
    assert str(tmp_path) in found.reason


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ('openjdk version "1.8.0_402"', "Java 8 is too old"),
        ('java version "10.0.2" 2018-07-17', "Java 10 is too old"),
        ("Unable to locate a Java Runtime.", "does not run"),
    ],
)
def test_a_java_that_will_not_do_is_named(monkeypatch: Patch, tmp_path: Path, says: str, reason: str) -> None:
    sdk = fake_sdk(tmp_path)
    monkeypatch.setenv("BINDERY_EMULATORS_HOME", str(sdk))
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, says)))

    found = find_emulators()

    assert isinstance(found, Missing)
    assert reason in found.reason


def test_the_sdk_is_found_behind_the_links_of_gcloud_on_the_path(monkeypatch: Patch, tmp_path: Path) -> None:
    sdk = fake_sdk(tmp_path)
    for name in ("BINDERY_EMULATORS_HOME", "CLOUDSDK_ROOT", "CLOUDSDK_ROOT_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "gcloud").symlink_to(sdk / "bin" / "gcloud")
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:{os.environ['PATH']}")
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, 'openjdk version "17.0.15" 2025-04-15')))

    found = find_emulators()

    assert isinstance(found, Emulators)
    assert found.pubsub == sdk / "platform" / "pubsub-emulator" / "lib" / "cloud-pubsub-emulator-9-all.jar"


def fake_sdk(tmp_path: Path) -> Path:
    sdk = tmp_path / "sdk"
    files = (
        "bin/gcloud",
        "platform/pubsub-emulator/lib/cloud-pubsub-emulator-9-all.jar",
        "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar",
    )
    for name in files:
        (sdk / name).parent.mkdir(parents=True)
        (sdk / name).touch(mode=0o755)
    return sdk


def fake_java(tmp_path: Path, says: str) -> Path:
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    java.chmod(0o755)
    return java.parents[1]


def test_pubsub_answers_and_after_a_crash_answers_again_at_the_same_place(
    supervisor: Supervisor, emulators: Emulators, http: requests.Session
) -> None:
    restarted: Queue[bool] = Queue()
    place = start_pubsub(supervisor, emulators, lambda: restarted.put(True))
    topic = f"http://{place}/v1/projects/test/topics/chapters"
    assert http.put(topic, timeout=DEADLINE).status_code == 200

    for java in psutil.Process(supervisor.pid("pubsub")).children(recursive=True):
        java.kill()

    assert restarted.get(timeout=DEADLINE)
    assert http.get(topic, timeout=DEADLINE).status_code == 404, "it forgot, so its owner has to be told"
    assert http.put(topic, timeout=DEADLINE).status_code == 200
