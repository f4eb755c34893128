"""Firestore's rules in Google's own emulator, asked as each kind of user would over REST and gRPC.

How much of the rules the questions covered is measured by the emulator: the last test prints and holds it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
import requests
from google.api_core.exceptions import PermissionDenied
from google.cloud.firestore_v1.services.firestore import FirestoreClient
from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcTransport
from google.cloud.firestore_v1.types import ListenRequest, StructuredQuery, Target, TargetChange

DEADLINE = 60
DATABASE = "projects/test/databases/(default)"
OWNER, READER = "harriet", "jane"
ALLOWED, DENIED = 200, 403

# Who asks: the claims of the token; None is no token at all.
USERS: dict[str, dict[str, object] | None] = {
    "owner": {"sub": OWNER},
    "reader": {"sub": READER},
    "other": {"sub": "edmund"},
    "admin": {"sub": "fanny", "admin": True},
    "almost admin": {"sub": "mary", "admin": "true"},
    "nobody": None,
}


@dataclass(frozen=True)
class Kind:
    """A kind of document, and who may read it: alone, all of the collection, and of the collection the owner's."""

    path: str
    one: frozenset[str]
    all: frozenset[str]
    owned: frozenset[str]

    @property
    def parent(self) -> str:
        return self.path.rsplit("/", 2)[0] if self.path.count("/") > 1 else ""

    @property
    def collection(self) -> str:
        return self.path.split("/")[-2]


OWNER_OR_ADMIN, ADMIN, THE_USER = frozenset({"owner", "admin"}), frozenset({"admin"}), frozenset({"owner"})
READERS, READER_OR_ADMIN = OWNER_OR_ADMIN | {"reader"}, ADMIN | {"reader"}
KINDS = {
    "book": Kind("books/emma", READERS, ADMIN, OWNER_OR_ADMIN),
    "chapter": Kind("books/emma/chapters/0001", READERS, READER_OR_ADMIN, READERS),
    "grid": Kind("books/emma/live/grid", READERS, ADMIN, OWNER_OR_ADMIN),
    "job": Kind("jobs/book-emma-v1", OWNER_OR_ADMIN, ADMIN, OWNER_OR_ADMIN),
    "notification": Kind(f"users/{OWNER}/notifications/1", THE_USER, THE_USER, THE_USER),
    "overview": Kind("ops/overview", ADMIN, ADMIN, ADMIN),
}
NOTIFICATION = KINDS["notification"].path


def token(claims: dict[str, object]) -> str:
    """What the emulator takes for a user's token: it asks for no signature."""
    parts = ({"alg": "none"}, {"iat": 0, "user_id": claims["sub"], **claims})
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts) + "."


def bearer(user: str) -> dict[str, str]:
    """The headers of a user, or of the functions, whom rules do not bind."""
    if user == "functions":
        return {"authorization": "Bearer owner"}
    claims = USERS[user]
    return {"authorization": f"Bearer {token(claims)}"} if claims else {}


def query_of(kind: Kind, owned: bool, everywhere: bool = False) -> dict[str, Any]:
    query: dict[str, Any] = {"from": [{"collectionId": kind.collection, "allDescendants": everywhere}]}
    if owned:
        field = {"field": {"fieldPath": "owner_uid"}, "op": "EQUAL", "value": {"stringValue": OWNER}}
        query["where"] = {"fieldFilter": field}
    return query


class Firestore:
    """The emulator, over REST and gRPC."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._http = requests.Session()
        self._http.trust_env = False  # no proxy stands before the loopback interface
        self._channel = grpc.insecure_channel(place)
        self._grpc = FirestoreClient(transport=FirestoreGrpcTransport(channel=self._channel))

    def close(self) -> None:
        self._http.close()
        self._channel.close()

    def _ask(self, method: str, path: str, user: str, **how: Any) -> int:
        address = f"http://{self.place}/v1/{DATABASE}/documents{path}"
        return self._http.request(method, address, headers=bearer(user), timeout=DEADLINE, **how).status_code

    def get(self, path: str, user: str) -> int:
        return self._ask("GET", f"/{path}", user)

    def read_all(self, kind: Kind, user: str) -> int:
        return self._ask("GET", f"/{kind.path.rsplit('/', 1)[0]}", user)

    def query(self, kind: Kind, user: str, *, owned: bool, shared: bool = False) -> int:
        parent = f"/{kind.parent}" if kind.parent else ""
        query = query_of(kind, owned)
        if shared:
            field = {"field": {"fieldPath": "readers"}, "op": "ARRAY_CONTAINS", "value": {"stringValue": READER}}
            query["where"] = {"fieldFilter": field}
        return self._ask("POST", f"{parent}:runQuery", user, json={"structuredQuery": query})

    def query_group(self, kind: Kind, user: str, *, owned: bool) -> int:
        return self._ask("POST", ":runQuery", user, json={"structuredQuery": query_of(kind, owned, everywhere=True)})

    def create(self, path: str, fields: dict[str, object], user: str) -> int:
        return self._commit([{**_update(path, fields), "currentDocument": {"exists": False}}], user)

    def update(self, path: str, fields: dict[str, object], user: str) -> int:
        """Changes only the given fields; None removes one."""
        return self._commit([_update(path, fields)], user)

    def update_all(self, changes: dict[str, dict[str, object]], user: str) -> int:
        """In one transaction."""
        return self._commit([_update(path, fields) for path, fields in changes.items()], user)

    def delete(self, path: str, user: str) -> int:
        return self._commit([{"delete": f"{DATABASE}/documents/{path}"}], user)

    def _commit(self, writes: list[dict[str, Any]], user: str) -> int:
        return self._ask("POST", ":commit", user, json={"writes": writes})

    def listen(self, user: str, target: Target) -> int:
        """Waits until Firestore has sent what there is, or refuses."""
        metadata = [*bearer(user).items(), ("google-cloud-resource-prefix", DATABASE)]
        first = ListenRequest(database=DATABASE, add_target=target)
        try:
            stream = self._grpc.listen(iter([first]), metadata=metadata, timeout=DEADLINE)
            for answer in stream:
                change = answer.target_change
                if change.target_change_type == TargetChange.TargetChangeType.REMOVE:
                    return DENIED if change.cause.code == grpc.StatusCode.PERMISSION_DENIED.value[0] else 500
                if change.target_change_type == TargetChange.TargetChangeType.CURRENT:
                    stream.cancel()
                    return ALLOWED
        except PermissionDenied:
            return DENIED
        return 500

    def coverage(self) -> dict[str, Any]:
        address = f"http://{self.place}/emulator/v1/projects/test:ruleCoverage"
        found: dict[str, Any] = self._http.get(address, timeout=DEADLINE).json()
        return found


def _update(path: str, fields: dict[str, object]) -> dict[str, Any]:
    kept = {name: _value(value) for name, value in fields.items() if value is not None}
    name = f"{DATABASE}/documents/{path}"
    return {"update": {"name": name, "fields": kept}, "updateMask": {"fieldPaths": list(fields)}}


def _value(value: object) -> dict[str, object]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(v) for v in value]}}
    return {"booleanValue" if isinstance(value, bool) else "stringValue": value}


def one(kind: Kind) -> Target:
    return Target(documents=Target.DocumentsTarget(documents=[f"{DATABASE}/documents/{kind.path}"]), target_id=1)


def many(kind: Kind, *, owned: bool) -> Target:
    parent = f"{DATABASE}/documents" + (f"/{kind.parent}" if kind.parent else "")
    query = StructuredQuery.from_json(json.dumps(query_of(kind, owned)))
    return Target(query=Target.QueryTarget(parent=parent, structured_query=query), target_id=1)


@pytest.fixture(scope="module")
def firestore(firestore_host: str) -> Iterator[Firestore]:
    store = Firestore(firestore_host)
    for name in ("book", "chapter", "grid", "job"):
        fields: dict[str, object] = {"owner_uid": OWNER, "status": "processing"}
        fields |= {"readers": [READER]} if name in ("book", "grid") else {}
        assert store.create(KINDS[name].path, fields, "functions") == 200
    note: dict[str, object] = {"owner_uid": OWNER, "title": "Emma is ready", "read": False}
    assert store.create(NOTIFICATION, note, "functions") == 200
    assert store.create("ops/overview", {"owner_uid": OWNER, "rate": "fast"}, "functions") == 200
    yield store
    store.close()


def answer(user: str, allowed: frozenset[str]) -> int:
    return ALLOWED if user in allowed else DENIED


each_user = pytest.mark.parametrize("user", USERS)
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@each_user
@each_kind
def test_a_document_is_shown_and_listened_to_by_those_it_is_for(firestore: Firestore, kind: Kind, user: str) -> None:
    expected = answer(user, kind.one)

    assert firestore.get(kind.path, user) == expected
    assert firestore.listen(user, one(kind)) == expected


@each_user
@each_kind
def test_a_whole_collection_is_listed_only_by_those_who_may_read_all_of_it(
    firestore: Firestore, kind: Kind, user: str
) -> None:
    expected = answer(user, kind.all)

    assert firestore.read_all(kind, user) == expected
    assert firestore.query(kind, user, owned=False) == expected
    assert firestore.listen(user, many(kind, owned=False)) == expected


@each_user
@each_kind
def test_a_query_for_the_owners_documents_is_answered_to_the_owner(firestore: Firestore, kind: Kind, user: str) -> None:
    expected = answer(user, kind.owned)

    assert firestore.query(kind, user, owned=True) == expected
    assert firestore.listen(user, many(kind, owned=True)) == expected


def test_readers_find_the_books_that_are_shared_with_them(firestore: Firestore) -> None:
    assert firestore.query(KINDS["book"], "reader", owned=False, shared=True) == ALLOWED
    assert firestore.query(KINDS["book"], "other", owned=False, shared=True) == DENIED
    assert firestore.query(KINDS["book"], "nobody", owned=False, shared=True) == DENIED


def test_who_may_read_a_book_no_more_sees_nothing_of_it(firestore: Firestore) -> None:
    kinds = [
        replace(KINDS[name], path=KINDS[name].path.replace("emma", "lent")) for name in ("book", "chapter", "grid")
    ]
    for kind in kinds:
        assert firestore.create(kind.path, {"owner_uid": OWNER, "readers": [READER]}, "functions") == ALLOWED
    assert {firestore.get(kind.path, "reader") for kind in kinds} == {ALLOWED}
    # The emulator fails to write what a listener may not read any more, if that listener has gone.
    for kind in kinds:
        assert firestore.update(kind.path, {"readers": ["catherine"]}, "functions") == ALLOWED

    assert {firestore.get(kind.path, "reader") for kind in kinds} == {DENIED}
    assert {firestore.listen("reader", one(kind)) for kind in kinds} == {DENIED}
    assert firestore.listen("reader", many(kinds[1], owned=False)) == DENIED


@each_user
@pytest.mark.parametrize("kind", [KINDS["chapter"], KINDS["notification"]], ids=["chapter", "notification"])
def test_no_query_reaches_over_all_parents(firestore: Firestore, kind: Kind, user: str) -> None:
    assert firestore.query_group(kind, user, owned=True) == DENIED
    assert firestore.query_group(kind, user, owned=False) == DENIED


@each_user
@each_kind
def test_nobody_creates_changes_or_deletes_a_document(firestore: Firestore, kind: Kind, user: str) -> None:
    beside = kind.path.rsplit("/", 1)[0] + "/new"
    mine: dict[str, object] = {"owner_uid": str((USERS[user] or {}).get("sub", OWNER)), "read": False}

    assert firestore.create(beside, mine, user) == DENIED
    assert firestore.update(beside, mine, user) == DENIED
    assert firestore.update(kind.path, {"status": "completed"}, user) == DENIED
    assert firestore.update(kind.path, {"owner_uid": "edmund"}, user) == DENIED
    assert firestore.delete(kind.path, user) == DENIED


@pytest.mark.parametrize("read", [True, False])
@each_user
def test_only_its_user_marks_a_notification_as_read_or_unread(firestore: Firestore, user: str, read: bool) -> None:
    assert firestore.update(NOTIFICATION, {"read": read}, user) == answer(user, THE_USER)


@pytest.mark.parametrize(
    "fields",
    [
        {"read": "yes"},
        {"read": None},
        {"read": True, "title": "I wrote this"},
        {"read": True, "seen": True},
        {"read": True, "owner_uid": None},
        {"title": "I wrote this"},
    ],
)
def test_a_user_changes_nothing_else_of_a_notification(firestore: Firestore, fields: dict[str, object]) -> None:
    assert firestore.update(NOTIFICATION, fields, "owner") == DENIED


def test_a_change_that_is_allowed_carries_none_that_is_not(firestore: Firestore) -> None:
    changes: dict[str, dict[str, object]] = {NOTIFICATION: {"read": True}, "books/emma": {"status": "completed"}}

    assert firestore.update_all(changes, "owner") == DENIED


@each_user
@pytest.mark.parametrize("path", ["users/harriet", "users/harriet/secrets/1", "other/1", "books/emma/other/1"])
def test_what_the_rules_do_not_name_is_closed(firestore: Firestore, path: str, user: str) -> None:
    assert firestore.get(path, user) == DENIED
    assert firestore.create(path, {"owner_uid": OWNER}, user) == DENIED


@pytest.mark.parametrize("path", ["books/emma/chapters/0099", "jobs/book-persuasion-v1"])
def test_a_document_that_is_not_there_looks_like_one_of_someone_else(firestore: Firestore, path: str) -> None:
    assert firestore.get(path, "other") == DENIED
    assert firestore.get(path, "nobody") == DENIED
    assert firestore.get(path, "admin") == 404


@pytest.mark.parametrize("path", ["books/persuasion", "books/persuasion/live/grid"])
def test_a_book_that_is_not_there_may_be_waited_for_by_whoever_knows_its_id(firestore: Firestore, path: str) -> None:
    assert firestore.get(path, "other") == 404
    assert firestore.get(path, "nobody") == DENIED


def test_every_condition_of_the_rules_was_seen_true_and_false(
    firestore: Firestore, capsys: pytest.CaptureFixture[str]
) -> None:
    report = firestore.coverage()
    source = report["rules"]["files"][0]["content"]
    conditions = {_text(node, source): _seen(node) for root in report["report"] for node in _conditions(root)}
    allows = [root for root in report["report"] if _line(root, source).startswith("allow")]
    half = sorted(text for text, seen in conditions.items() if seen != {True, False})

    with capsys.disabled():
        covered = len(conditions) - len(half)
        print(
            f"\nrules: {covered} of {len(conditions)} conditions seen true and false ({covered / len(conditions):.0%})"
        )
    assert len(allows) == source.count("allow ")
    assert [_line(root, source) for root in allows if _seen(root) != {True, False}] == []
    assert half == [], "it counts what the whole file asks: run all of it"


def _conditions(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Whatever was a truth value, or was never evaluated at all."""
    if _seen(node) or not node.get("values"):
        yield node
    for child in node.get("children", []):
        yield from _conditions(child)


def _seen(node: dict[str, Any]) -> set[bool]:
    return {v["value"]["boolValue"] for v in node.get("values", []) if "boolValue" in v.get("value", {})}


def _text(node: dict[str, Any], source: str) -> str:
    place: dict[str, int] = node["sourcePosition"]
    return f"{place['line']}:{place['column']} {source[place['currentOffset'] : place['endOffset']]}"


def _line(node: dict[str, Any], source: str) -> str:
    line: int = node["sourcePosition"]["line"]
    return source.splitlines()[line - 1].strip()
