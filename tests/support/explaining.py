"""What the database does for each statement that the code really sends: its plan, its time, and what it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from shared.adapters.postgres.database import Connection

_EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "
_EXPLAINED = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One statement as it ran. `blocks` are pages of 8 kB that its plan read, `rows` what it looked at in tables and
    indexes; what foreign keys look at is in neither."""

    statement: str
    ms: float
    blocks: int
    plan: Mapping[str, Any]

    @property
    def rows(self) -> int:
        return round(sum(_rows(n) for n in self._nodes() if n["Node Type"].endswith("Scan")))

    def scanned(self) -> list[str]:
        """The tables that it read from beginning to end."""
        return [n["Relation Name"] for n in self._nodes() if n["Node Type"] == "Seq Scan" and n["Actual Loops"]]

    def _nodes(self) -> Iterator[Mapping[str, Any]]:
        nodes = [self.plan]
        while nodes:
            node = nodes.pop()
            nodes += node.get("Plans", [])
            yield node


def _rows(node: Mapping[str, Any]) -> float:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float((node["Actual Rows"] + removed) * node["Actual Loops"])


def explaining_connection(seen: list[Explained]) -> type[Connection]:
    """A class of connections that run each statement once in a transaction that is rolled back, for `seen`, and then
    as they were told to."""

    class ExplainingConnection(psycopg.Connection[Any]):
        def execute(self, query: Any, params: Any = None, **how: Any) -> Any:
            if str(query).lstrip().startswith(_EXPLAINED):
                with self.transaction(force_rollback=True), self.cursor() as cursor:
                    (row,) = cursor.execute(_EXPLAIN + query, params).fetchall()
                seen.append(_explained(" ".join(query.split()), *row.values()))
            return super().execute(query, params, **how)

    return ExplainingConnection


def _explained(statement: str, found: list[Mapping[str, Any]]) -> Explained:
    (told,) = found
    plan = told["Plan"]
    return Explained(
        statement=statement,
        ms=told["Planning Time"] + told["Execution Time"],
        blocks=plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
        plan=plan,
    )
