"""What several files of unit tests share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.cli import bulk_import, main, patience
from tests.support.fake_import_api import FakeImportApi, RunImport, serving


@pytest.fixture
def import_api() -> Iterator[FakeImportApi]:
    with serving(FakeImportApi()) as made:
        yield made


@pytest.fixture
def run_import(
    import_api: FakeImportApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> RunImport:
    """Runs `bindery import` in this process, in a folder of its own, without pauses: its exit code, standard output and
    standard error."""
    monkeypatch.setenv("BINDERY_URL", import_api.url)
    monkeypatch.delenv("BINDERY_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(bulk_import, "_FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_SECONDS", 0.0)

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bindery", "import", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        said = capsys.readouterr()
        return int(str(ended.value.code or 0)), said.out, said.err

    return command
