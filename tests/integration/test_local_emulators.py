"""Google's emulators: found, started once, restarted; and Firestore's rules, asked as a user would."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import psutil
import pytest
import requests

from infra.local.emulators import Emulators, Missing, find_emulators, start_firestore, start_pubsub
from infra.local.processes import Supervisor

Patch = pytest.MonkeyPatch
DEADLINE = 60
OWNER, STRANGER = "harriet", "edmund"


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


class Firestore:
    """Its REST interface, as the functions (no uid) or as a user."""

    def __init__(self, place: str, http: requests.Session) -> None:
        self._root = f"http://{place}/v1/projects/test/databases/(default)/documents"
        self._http = http

    def read(self, path: str, **claims: object) -> int:
        return self._http.get(f"{self._root}/{path}", headers=_token(claims), timeout=DEADLINE).status_code

    def write(self, path: str, fields: dict[str, object], **claims: object) -> int:
        """Changes only the given fields."""
        mask = [("updateMask.fieldPaths", name) for name in fields]
        body = {"fields": {name: _value(value) for name, value in fields.items()}}
        return self._http.patch(
            f"{self._root}/{path}", params=mask, json=body, headers=_token(claims), timeout=DEADLINE
        ).status_code

    def query(self, collection: str, uid: str, where: str | None) -> int:
        query: dict[str, object] = {"from": [{"collectionId": collection}]}
        if where is not None:
            owned = {"field": {"fieldPath": "owner_uid"}, "op": "EQUAL", "value": {"stringValue": where}}
            query["where"] = {"fieldFilter": owned}
        reply = self._http.post(
            f"{self._root}:runQuery",
            json={"structuredQuery": query},
            headers=_token({"sub": uid}),
            timeout=DEADLINE,
        )
        return reply.status_code


def _value(value: object) -> dict[str, object]:
    return {"booleanValue" if isinstance(value, bool) else "stringValue": value}


def _token(claims: dict[str, object]) -> dict[str, str]:
    """The emulator takes a token without a signature for a user's, and `owner` for the functions'."""
    if not claims:
        return {"Authorization": "Bearer owner"}
    parts = ({"alg": "none"}, {"iat": 0, "user_id": claims["sub"], **claims})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return {"Authorization": f"Bearer {'.'.join(encoded)}."}


@pytest.fixture(scope="module")
def firestore(supervisor: Supervisor, emulators: Emulators, http: requests.Session) -> Firestore:
    store = Firestore(start_firestore(supervisor, emulators), http)
    for path in ("books/emma", "books/emma/chapters/0001", "jobs/book-emma-v1"):
        assert store.write(path, {"owner_uid": OWNER, "status": "processing"}) == 200
    notification = {"title": "Emma is ready", "read": False}
    assert store.write(f"users/{OWNER}/notifications/1", notification) == 200
    assert store.write("ops/overview", {"rate": "fast"}) == 200
    return store


MINE = ("books/emma", "books/emma/chapters/0001", "jobs/book-emma-v1")


@pytest.mark.parametrize("path", MINE)
def test_books_and_jobs_are_read_by_their_owner_and_by_admins(firestore: Firestore, path: str) -> None:
    assert firestore.read(path, sub=OWNER) == 200
    assert firestore.read(path, sub=STRANGER, admin=True) == 200
    assert firestore.read(path, sub=STRANGER) == 403
    assert firestore.read(path, sub=STRANGER, admin="true") == 403


@pytest.mark.parametrize("path", [*MINE, "ops/overview", "books/new", "jobs/new"])
def test_nobody_but_the_functions_writes(firestore: Firestore, path: str) -> None:
    assert firestore.write(path, {"owner_uid": OWNER}, sub=OWNER) == 403
    assert firestore.write(path, {"owner_uid": OWNER}, sub=STRANGER, admin=True) == 403


def test_a_query_must_ask_for_the_owners_own(firestore: Firestore) -> None:
    assert firestore.query("books", OWNER, where=OWNER) == 200
    assert firestore.query("books", OWNER, where=None) == 403
    assert firestore.query("books", STRANGER, where=OWNER) == 403


def test_the_overview_is_for_admins(firestore: Firestore) -> None:
    assert firestore.read("ops/overview", sub=OWNER, admin=True) == 200
    assert firestore.read("ops/overview", sub=OWNER) == 403


def test_users_change_of_their_own_notifications_only_whether_they_are_read(
    firestore: Firestore,
) -> None:
    path = f"users/{OWNER}/notifications/1"

    assert firestore.read(path, sub=OWNER) == 200
    assert firestore.read(path, sub=STRANGER) == 403
    assert firestore.write(path, {"read": True}, sub=OWNER) == 200
    assert firestore.write(path, {"read": True}, sub=STRANGER) == 403
    assert firestore.write(path, {"read": "yes"}, sub=OWNER) == 403
    assert firestore.write(path, {"read": True, "title": "I wrote this"}, sub=OWNER) == 403
    assert firestore.write(f"users/{OWNER}/notifications/2", {"read": False}, sub=OWNER) == 403
