"""The documents say what is there: links lead somewhere, files and names are in the code, commands can be typed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from infra.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = re.compile(r"(^|/)(\.(?!github/)|node_modules/)")
DOCUMENTS = sorted(p for p in ROOT.rglob("*.md") if not NOT_OURS.search(str(p.relative_to(ROOT))))
PAGES = [p for p in DOCUMENTS if p.name != "sample.md"]
# The line counts of the reading list are for a first idea.
DRIFT = 0.25

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    return page.read_text("utf-8")


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", prose(page)):
        if target and "://" not in target:
            assert (page.parent / target).exists(), target


@each_page
def test_links_within_a_page_name_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]*)\)", prose(page)):
        if "://" not in target:
            named = page.parent / target if target else page
            headings = re.findall(r"^#+ (.*)$", prose(named), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings]


@each_page
def test_files_that_are_named_are_there(page: Path) -> None:
    for name in set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", prose(page))):
        beside = [page.parent, ROOT, ROOT / "shared", ROOT / "infra"]
        assert name.startswith(PATHS_OF_OTHERS) or any((folder / name).exists() for folder in beside), name


# Of the live documents, of HTTP, and what a run makes.
PATHS_OF_OTHERS = ("books/", "jobs/", "users/", "ops/", "application/", "roles/", ".bindery/", "/var/")


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that these words name, and the words after its name."""
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, words[0]
        command, words = command.commands[words[0]], words[1:]
    return command, words


@each_page
def test_commands_that_are_shown_are_there_with_their_options(page: Path) -> None:
    for line in re.findall(r"(?:\./infra/)?\bbindery ((?:[a-z]+|--)[^`\n#]*)", code(page)):
        words = line.split()
        if words[0].startswith("-"):
            continue
        command, rest = command_of(words)
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {w for w in rest if w.startswith("--")} <= known, line


def code(page: Path) -> str:
    """Code blocks and what stands between backticks."""
    text = prose(page)
    return "\n".join(re.findall(r"```\w*\n.*?```|`[^`\n]+`", text, re.DOTALL))


def table_after(heading: str) -> list[list[str]]:
    """The rows of the table in that section of the page on architecture, cell by cell."""
    section = re.split(r"^##+ ", prose(ROOT / "shared" / "README.md"), flags=re.MULTILINE)
    (found,) = [part for part in section if part.startswith(heading)]
    rows = [line.strip("| ").split(" | ") for line in found.splitlines() if line.startswith("| ")]
    return rows[2:]


def test_the_reading_list_is_about_as_long_as_it_says() -> None:
    rows = table_after("To understand `process_chapter`")
    for name, lines, _ in rows:
        actual = len((ROOT / name.strip("`")).read_text("utf-8").splitlines())
        assert abs(actual - int(lines)) <= max(10, DRIFT * actual), f"{name} has {actual} lines"


def test_the_glossarys_names_are_in_the_code() -> None:
    source = "\n".join(p.read_text("utf-8") for p in (ROOT / "shared").rglob("*.py"))
    terms = table_after("Glossary")
    assert [row[0] for row in terms] == sorted({row[0] for row in terms}, key=str.lower)
    for row in terms:
        for name in re.findall(r"`([\w.]+)`", row[-1]):
            for word in name.removeprefix("shared.").split("."):
                assert re.search(rf"\b{word}\b", source), f"{row[0]}: {name}"
