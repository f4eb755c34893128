"""`bindery doctor`: each fault is told with its cause and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from infra.cli.client import ApiError
from infra.cli.doctor import Finding, examine

URL = "https://api.example"
ALL_IS_WELL: Mapping[str, Any] = {
    "/healthz": {"status": "serves"},
    "/readyz": {"status": "ready"},
    "/api/books": {"totals": {"completed": 3, "failed": 0, "processing": 1}},
    "/api/dead-letters": {"dead_letters": []},
}


class FakeClient:
    """Answers these paths: with a value, or an error."""

    url = URL

    def __init__(self, **answers: Any) -> None:
        self.answers = {**ALL_IS_WELL, **answers}

    def get(self, path: str, **query: Any) -> Any:
        answer = self.answers[path]
        if isinstance(answer, ApiError):
            raise answer
        return answer


def found(**answers: Any) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(FakeClient(**answers))}  # type: ignore[arg-type]


def test_where_all_is_well_nothing_has_a_cause() -> None:
    findings = found()
    assert list(findings) == ["api", "database", "books", "dead letters"]
    assert [finding.cause or finding.next for finding in findings.values()] == [None] * 4
    assert findings["books"].found == "3 completed, 1 processing"


@pytest.mark.parametrize(
    ("path", "error", "last", "says"),
    [
        ("/healthz", ApiError(0, "can't reach it"), "api", "dev"),
        ("/readyz", ApiError(503, "apply the migrations", "not_ready"), "database", "migrate"),
        ("/api/books", ApiError(401, "the token is not valid", "unauthenticated"), "books", "keys create"),
    ],
)
def test_a_fault_is_the_last_that_is_asked_and_says_what_to_do(
    path: str, error: ApiError, last: str, says: str
) -> None:
    *before, (name, finding) = found(**{path: error}).items()
    assert all(known.cause is None for _, known in before)
    assert (name, finding.cause) == (last, str(error))
    assert finding.next
    assert says in finding.next


@pytest.mark.parametrize(("count", "told"), [(2, "2 open"), (500, "500 or more open")])
def test_dead_letters_are_a_fault_that_has_a_command(count: int, told: str) -> None:
    finding = found(**{"/api/dead-letters": {"dead_letters": [{}] * count}})["dead letters"]
    assert finding.cause
    assert finding.cause.startswith(told)
    assert "dead-letters groups" in str(finding.next)
