"""The shell scripts, in a clone that is made up: nothing is installed, and every program only says how it was called."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

INFRA = Path(__file__).resolve().parents[2] / "infra"
HABITS = ["check", "lint", "format", "types", "layers", "migrations", "previous", "browser"]
HABITS += ["test", "bench", "sim", "mutants"]

SQUAWK = [
    "squawk --no-error-on-unmatched-pattern --assume-in-transaction infra/migrations/0001_table.sql",
    "squawk --no-error-on-unmatched-pattern infra/migrations/0002_index.sql",
]

# Stands for every Python and every tool: knows `-m venv`, and writes its name and arguments to `calls`.
PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$*" in
"-m venv "*)
    for folder in "$@"; do :; done
    mkdir -p "$folder/bin"
    for name in python ruff mypy lint-imports squawk bindery; do cp "$0" "$folder/bin/$name"; done
    ;;
esac
"""


class Clone:
    """A folder with the scripts; `tools` stands in front of the path."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls = root, root / "calls"
        (root / "infra").mkdir(parents=True)
        for name in ("setup.sh", "dev", "test", "bindery"):
            shutil.copy(INFRA / name, root / "infra" / name)
        (root / "infra" / "requirements.lock").write_text("typer==1\n")
        (root / "pyproject.toml").write_text("[project]\n")
        (root / "infra" / "migrations").mkdir()
        (root / "infra" / "migrations" / "0001_table.sql").write_text("-- A table.\nCREATE TABLE t ();\n")
        (root / "infra" / "migrations" / "0002_index.sql").write_text("-- no transaction\nCREATE INDEX;\n")
        self._tools = root / "tools"
        self._tools.mkdir()
        for name in ("python3", "chromium"):
            self.add_tool(name, PROGRAM)
        self._env = {"PATH": f"{self._tools}:{os.environ['PATH']}", "CALLS": str(self.calls)}

    def add_tool(self, name: str, program: str) -> None:
        (self._tools / name).write_text(program)
        (self._tools / name).chmod(0o755)

    def lack_chromium(self) -> None:
        """From now on, no program is on the path but these tools, and what the scripts take for granted."""
        (self._tools / "chromium").unlink()
        for name in ("awk", "cat", "cksum", "dirname", "grep", "mkdir", "sed", "basename"):
            (self._tools / name).symlink_to(str(shutil.which(name)))
        self._env["PATH"] = str(self._tools)

    def run(self, script: str, *arguments: str, venv: Path | None = None) -> subprocess.CompletedProcess[str]:
        env = self._env | ({"BINDERY_VENV": str(venv)} if venv else {})
        command = [f"./infra/{script}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=self.root, timeout=30)

    def called(self) -> list[str]:
        """What was called since the last time."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return lines


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone")


@pytest.fixture
def ready(clone: Clone) -> Clone:
    """One that is set up."""
    assert clone.run("bindery").returncode == 0
    clone.called()
    return clone


def test_the_environment_is_made_once(clone: Clone) -> None:
    assert clone.run("bindery", "status", "x").returncode == 0
    assert [c for c in clone.called() if "venv" in c or "install" in c or c.startswith("bindery")] == [
        f"python3 -m venv {clone.root}/.venv",
        f"python -m pip install --quiet --quiet --disable-pip-version-check --no-input --root-user-action=ignore --no-deps --require-hashes --only-binary :all: -r {clone.root}/infra/requirements.lock",
        f"python -m pip install --quiet --quiet --disable-pip-version-check --no-input --root-user-action=ignore --no-deps --no-build-isolation -e {clone.root}",
        "bindery status x",
    ]
    assert clone.run("bindery", "books").returncode == 0
    assert clone.called() == ["bindery books"]


def test_a_new_lock_file_makes_the_environment_anew(ready: Clone, tmp_path: Path) -> None:
    venv = tmp_path / "elsewhere"
    for folder in (None, venv):
        ready.run("bindery", venv=folder)
        place = folder or ready.root / ".venv"
        (place / "old").touch()
        lock = ready.root / "infra" / "requirements.lock"
        lock.write_text(lock.read_text() + "rich==1\n")
        ready.called()

        assert ready.run("bindery", venv=folder).returncode == 0
        assert f"python3 -m venv {place}" in ready.called()
        assert not (place / "old").exists()


def test_the_environment_of_another_clone_is_refused_and_left_alone(clone: Clone, tmp_path: Path) -> None:
    first, venv = Clone(tmp_path / "a first clone"), tmp_path / "venv"
    first.run("bindery", venv=venv)
    (venv / "kept").touch()
    refused = clone.run("bindery", venv=venv)

    assert refused.returncode == 2
    assert refused.stderr == (
        f"bindery: {venv} is the environment of {first.root}; name another by BINDERY_VENV, or delete this one\n"
    )
    assert clone.called() == []
    assert (venv / "kept").exists()
    first.called()
    assert first.run("bindery", venv=venv).returncode == 0
    assert first.called() == ["bindery "]


def test_one_that_was_made_before_owners_were_noted_is_refused_too(clone: Clone, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / ".installed").write_text("/some/where else 123 456\n")
    assert "is the environment of /some/where else;" in clone.run("bindery", venv=venv).stderr
    (venv / ".installed").write_text(f"{clone.root} 123 456\n")
    assert clone.run("bindery", venv=venv).returncode == 0


def test_a_folder_of_something_else_is_refused_and_left_alone(clone: Clone, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "novel.txt").touch()
    refused = clone.run("bindery", venv=home)
    assert refused.returncode == 2
    assert "did not make" in refused.stderr
    assert (home / "novel.txt").exists()


def test_an_empty_folder_is_taken_and_a_set_up_that_broke_off_is_repeated(clone: Clone, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    assert clone.run("bindery", venv=venv).returncode == 0
    (venv / ".installed").unlink()
    assert clone.run("bindery", venv=venv).returncode == 0


def test_each_habit_is_listed_with_a_line_without_setting_up(clone: Clone) -> None:
    for arguments in ([], ["--help"]):
        listed = clone.run("dev", *arguments)
        assert listed.returncode == 0
        for habit in HABITS:
            assert re.search(rf"^  {habit} .*\w", listed.stdout, re.MULTILINE)
    assert clone.called() == []


def test_every_habit_of_the_script_is_known_here() -> None:
    described = re.findall(r"^#: (\w+)", (INFRA / "dev").read_text(), re.MULTILINE)
    assert described == HABITS


def test_what_is_no_habit_is_refused_with_the_list(clone: Clone) -> None:
    for habit in ("nonsense", "run", "install", ".*", "-x"):
        refused = clone.run("dev", habit)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "mutants" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (["lint", "--fix"], ["ruff check --quiet --fix .", "ruff format --check --quiet ."]),
        (["format"], ["ruff format ."]),
        (["types"], ["mypy "]),
        (["layers"], ["lint-imports "]),
        (["migrations"], SQUAWK),
        (["check"], ["ruff check --quiet .", "ruff format --check --quiet .", "mypy ", "lint-imports ", *SQUAWK]),
        (["test", "-n0", "tests/unit", "-k", "a b"], ["python -m pytest -n0 tests/unit -k a b"]),
        (["bench", "overhead"], ["python -m tests.benchmarks.run overhead"]),
        (["sim", "--seeds", "0:60"], ["python -m tests.simulation --seeds 0:60"]),
        (["mutants"], ["python -m tests.simulation --mutants"]),
    ],
    ids=lambda value: value[0],
)
def test_a_habit_calls_its_tool(ready: Clone, arguments: list[str], called: list[str]) -> None:
    assert ready.run("dev", *arguments).returncode == 0
    assert ready.called() == called


def test_chromium_is_installed_by_root_alone_and_only_where_it_is_missing(ready: Clone) -> None:
    there = ready.run("dev", "browser")
    ready.lack_chromium()
    ready.add_tool("apt-get", PROGRAM.replace("/bin/sh", str(shutil.which("sh"))))
    told = []
    for user in ("1000", "0"):
        ready.add_tool("id", f"#!{shutil.which('sh')}\necho {user}\n")
        told.append(ready.run("dev", "browser"))

    assert (there.returncode, there.stderr) == (0, "")
    assert [t.returncode for t in told] == [0, 0]
    assert "as root: apt-get install chromium" in told[0].stderr
    assert "installing Chromium" in told[1].stderr
    assert ready.called() == ["apt-get install -qq -y --no-install-recommends chromium"]


def test_an_earlier_releases_tests_are_run_in_its_tree_with_the_migrations_of_this_one(ready: Clone) -> None:
    git = ["git", "-C", str(ready.root), "-c", "user.name=A", "-c", "user.email=a@example.com"]
    (ready.root / "earlier").touch()
    for command in (["init", "-q"], ["add", "earlier", "infra/migrations/0001_table.sql"], ["commit", "-q", "-m", "1"]):
        subprocess.run([*git, *command], check=True, timeout=30)
    (ready.root / "earlier").unlink()
    # In place of pytest: what there is where it is run.
    (ready.root / ".venv" / "bin" / "python").write_text('#!/bin/sh\nls . infra/migrations; echo "$PYTHONPATH"; pwd\n')
    done = ready.run("dev", "previous", "HEAD")
    path, folder = done.stdout.split()[-2:]

    assert done.returncode == 0, done.stderr
    assert {"earlier", "0001_table.sql", "0002_index.sql"} <= set(done.stdout.split())
    assert path == folder
    assert not Path(folder).exists()


def test_the_test_command_checks_all_before_it_runs_all_tests(ready: Clone) -> None:
    ready.run("test")
    assert [c.split()[0] for c in ready.called()] == [
        "ruff",
        "ruff",
        "mypy",
        "lint-imports",
        "squawk",
        "squawk",
        "python",
    ]
    ready.run("test", "tests/unit")
    assert ready.called() == ["python -m pytest tests/unit"]


@pytest.mark.parametrize(("tool", "code"), [("mypy", 3), ("squawk", 1)])
def test_a_tool_that_fails_ends_the_check(ready: Clone, tool: str, code: int) -> None:
    (ready.root / ".venv" / "bin" / tool).write_text("#!/bin/sh\necho it is wrong\nexit 3\n")
    failed = ready.run("test")

    assert failed.returncode == code
    assert "it is wrong" in failed.stdout + failed.stderr
    assert not any("pytest" in call for call in ready.called())
