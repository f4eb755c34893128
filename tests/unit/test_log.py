"""What a line of the log is: for Cloud Logging, for Error Reporting, and for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import structlog

from shared.domain.failures import stack_of
from shared.log import Logs, configure_logging

TEXT = "The lantern went out before the captain could read it."
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CLOUD = Logs(project="p", service="process-chapter", revision="process-chapter-00007")


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def out() -> Iterator[StringIO]:
    yield StringIO()
    structlog.reset_defaults()


def logged(out: StringIO) -> Any:
    (line,) = out.getvalue().splitlines()
    return json.loads(line)


def fail() -> None:
    try:
        raise ValueError(TEXT)
    except ValueError as error:
        raise RuntimeError(f"it was: {TEXT}") from error


def test_a_line_is_what_cloud_logging_reads(out: StringIO) -> None:
    configure_logging(CLOUD, out, lambda: f"00-{TRACE}-{SPAN}-01")

    structlog.get_logger().warning("stage.retry", book_id="b", version=2, attempt=1, seconds=3.5)

    line = logged(out)
    assert line.pop("time").endswith("Z")
    assert line == {
        "severity": "WARNING",
        "message": "stage.retry",
        "seconds": 3.5,
        "logging.googleapis.com/labels": {"book_id": "b", "version": "2", "attempt": "1"},
        "logging.googleapis.com/trace": f"projects/p/traces/{TRACE}",
        "logging.googleapis.com/spanId": SPAN,
        "logging.googleapis.com/trace_sampled": True,
    }


@pytest.mark.parametrize("traceparent", [None, "", "nonsense", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01"])
def test_without_a_trace_a_line_names_none(out: StringIO, traceparent: str | None) -> None:
    configure_logging(CLOUD, out, lambda: traceparent)

    structlog.get_logger().info("book.imported")

    assert set(logged(out)) == {"severity", "message", "time"}


def test_an_error_is_what_error_reporting_groups_and_has_no_message_of_an_exception(out: StringIO) -> None:
    configure_logging(CLOUD, out)

    try:
        fail()
    except RuntimeError:
        structlog.get_logger().exception("stage.failed")

    line = logged(out)
    assert line["severity"] == "ERROR"
    assert line["@type"].endswith("devtools.clouderrorreporting.v1beta1.ReportedErrorEvent")
    assert line["serviceContext"] == {"service": "process-chapter", "version": "process-chapter-00007"}
    cause, effect = line["stack_trace"].split("\nThe above exception was the direct cause")
    assert cause.startswith("Traceback (most recent call last):\n  File ")
    assert cause.endswith("\nValueError\n")
    assert effect.endswith("\nRuntimeError\n")
    assert "in fail\n" in effect
    assert TEXT not in out.getvalue()


def test_an_error_without_a_stack_is_nothing_to_group(out: StringIO) -> None:
    configure_logging(CLOUD, out)

    structlog.get_logger().error("restore.is_due")

    assert "@type" not in logged(out)


def test_errors_that_cause_one_another_in_a_ring_are_told_once_each() -> None:
    first, second = ValueError(TEXT), KeyError(TEXT)
    first.__cause__, second.__cause__ = second, first

    assert [line for line in stack_of(first).splitlines() if line.endswith("Error")] == ["KeyError", "ValueError"]


def test_in_a_terminal_a_line_is_for_people_and_elsewhere_for_machines(out: StringIO) -> None:
    terminal = Terminal()
    for logs, where in ((Logs(), terminal), (Logs(format="console"), out)):
        configure_logging(logs, where)
        structlog.get_logger().info("stage.done", job_id="chapter-1")

        line = where.getvalue()
        assert "\x1b[" in line, "it has colours"
        assert "stage.done" in line
        with pytest.raises(ValueError, match="Expecting value"):
            json.loads(line)

    forced = Terminal()
    configure_logging(Logs(format="json"), forced)
    structlog.get_logger().info("stage.done")
    assert logged(forced)["message"] == "stage.done"


def test_people_see_a_stack_without_its_message_and_nothing_that_a_terminal_obeys(out: StringIO) -> None:
    configure_logging(Logs(format="console"), out)

    try:
        fail()
    except RuntimeError as error:
        structlog.get_logger().error("stage.failed", job_id="\x1b]0;title\x07", exc_info=error)

    assert "in fail\n" in out.getvalue()
    assert TEXT not in out.getvalue()
    assert "\x1b]" not in out.getvalue()
