from __future__ import annotations

import re
from pathlib import Path

from infra.cli.tables import codes_table, errors_table, settings_table
from shared.domain.stages import STAGES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
OPERATIONS = (ROOT / "infra" / "README.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "shared" / "README.md").read_text("utf-8")
MAX_LINES = 150


def test_the_table_of_settings_is_the_codes() -> None:
    assert settings_table() in OPERATIONS


def test_the_table_of_problems_is_the_codes() -> None:
    assert codes_table() in OPERATIONS


def test_the_table_of_errors_is_the_codes() -> None:
    assert errors_table() in OPERATIONS


def test_the_first_code_block_has_the_two_commands_and_ci_runs_the_second() -> None:
    first = re.search(r"```(?:sh)?\n(.*?)```", README, re.DOTALL)
    assert first
    demo, test = (line.split("#")[0].strip() for line in first.group(1).strip().splitlines())
    assert (demo, test) == ("./infra/bindery demo", "./infra/test")
    assert test in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_table_of_stages_is_the_codes() -> None:
    for stage in STAGES.values():
        row = f"| `{stage.type}` | `{stage.function}` | {stage.attempts} | {stage.first_backoff_seconds} s | {stage.concurrency} |"
        assert row in ARCHITECTURE


def test_the_front_page_is_read_in_five_minutes() -> None:
    assert len(README.splitlines()) <= MAX_LINES


def test_the_top_level_is_as_fixed() -> None:
    allowed = {"functions", "shared", "infra", "tests", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"}
    allowed |= {"cloudbuild.yaml"}
    assert {p.name for p in ROOT.iterdir() if not p.name.startswith(".")} <= allowed
