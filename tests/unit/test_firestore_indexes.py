"""Firestore's indexes, by the rules of its documentation: each query that is documented or made has one, and no field that
only rises has one of its own unless a query needs it (500 writes a second are the most that such an index takes).

https://firebase.google.com/docs/firestore/query-data/index-overview
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

INFRA = Path(__file__).resolve().parents[2] / "infra"
INDEXES = json.loads((INFRA / "firestore" / "firestore.indexes.json").read_text())
PAGE = (INFRA / "clients" / "README.md").read_text("utf-8")


@dataclass(frozen=True, kw_only=True)
class Query:
    """`equal` has equalities and `contains` a field that holds a value; `order` is what it is sorted, or compared, by."""

    kind: str
    scope: str = "COLLECTION"
    equal: Sequence[str] = ()
    contains: Sequence[str] = ()
    order: Sequence[tuple[str, str]] = ()


# What the functions ask themselves: see shared/adapters/google/firestore.py.
OWN = [
    Query(kind=kind, scope=scope, order=[("revision", order)])
    for kind, scope in (
        ("books", "COLLECTION"),
        ("jobs", "COLLECTION"),
        ("live", "COLLECTION_GROUP"),
        ("chapters", "COLLECTION_GROUP"),
    )
    for order in ("ASCENDING", "DESCENDING")
]
ORDERS = {"asc": "ASCENDING", "desc": "DESCENDING"}


def documented() -> list[Query]:
    """Those of the page on clients."""
    found = []
    for code in re.findall(r"query\(collection\(db, .*\)", PAGE):
        path = re.findall(r'"(\w+)"|bookId', code.split(")")[0])
        found.append(
            Query(
                kind=path[-1],
                equal=re.findall(r'where\("(\w+)", "=="', code),
                contains=re.findall(r'where\("(\w+)", "array-contains"', code),
                order=[(field, ORDERS[order]) for field, order in re.findall(r'orderBy\("(\w+)", "(\w+)"\)', code)],
            )
        )
    return found


def own_indexes(kind: str, field: str) -> list[dict[str, str]]:
    """A field's single-field indexes: in each collection both orders and what it contains, unless the file says else."""
    for override in INDEXES["fieldOverrides"]:
        if (override["collectionGroup"], override["fieldPath"]) == (kind, field):
            return list(override["indexes"])
    automatic = [{"order": order, "queryScope": "COLLECTION"} for order in ORDERS.values()]
    return [*automatic, {"arrayConfig": "CONTAINS", "queryScope": "COLLECTION"}]


def is_served(query: Query) -> bool:
    if query.order and (query.equal or query.contains):
        needed: list[Any] = [(name, "ASCENDING") for name in query.equal]
        needed += [(name, "CONTAINS") for name in query.contains] + list(query.order)
        return needed in [
            [(f["fieldPath"], f.get("order") or f["arrayConfig"]) for f in index["fields"]]
            for index in INDEXES["indexes"]
            if (index["collectionGroup"], index["queryScope"]) == (query.kind, query.scope)
        ]
    single = [(name, {"order": "ASCENDING"}) for name in query.equal]
    single += [(name, {"arrayConfig": "CONTAINS"}) for name in query.contains]
    single += [(name, {"order": order}) for name, order in query.order]
    return all({**index, "queryScope": query.scope} in own_indexes(query.kind, name) for name, index in single)


def test_the_page_tells_of_queries() -> None:
    assert [query.kind for query in documented()] == ["books", "books", "chapters", "jobs"]


@pytest.mark.parametrize("query", [*documented(), *OWN], ids=repr)
def test_each_query_has_an_index(query: Query) -> None:
    assert is_served(query)


@pytest.mark.parametrize(
    "query",
    [
        Query(kind="jobs", order=[("created_at", "DESCENDING")]),
        Query(kind="books", equal=["owner_uid"], order=[("title", "ASCENDING")]),
        Query(kind="jobs", scope="COLLECTION_GROUP", order=[("revision", "ASCENDING")]),
    ],
    ids=repr,
)
def test_a_query_without_an_index_is_known_for_one(query: Query) -> None:
    assert not is_served(query)


def test_no_index_serves_nothing() -> None:
    served = {(q.kind, *q.equal, *q.contains, *(name for name, _ in q.order)) for q in documented()}
    assert {(i["collectionGroup"], *(f["fieldPath"] for f in i["fields"])) for i in INDEXES["indexes"]} <= served


RISING = {
    "books": {"started_at", "updated_at", "completed_at", "next_attempt_at"},
    "chapters": {"next_attempt_at"},
    "jobs": {"created_at", "processed_on", "finished_on", "expire_at"},
}


@pytest.mark.parametrize("kind", RISING)
def test_a_field_that_only_rises_has_no_index_of_its_own(kind: str) -> None:
    assert {field: own_indexes(kind, field) for field in RISING[kind]} == {field: [] for field in RISING[kind]}


def test_what_expires_is_deleted_by_firestore() -> None:
    ttl = [(o["collectionGroup"], o["fieldPath"]) for o in INDEXES["fieldOverrides"] if o.get("ttl")]
    assert ttl == [("jobs", "expire_at")]
