"""The `.env.local` by which a web app finds the local stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.cli.env_file import write_env_file

EMULATORS = {
    "BINDERY_URL": "http://127.0.0.1:8420",
    "BINDERY_DATABASE_URL": "postgresql://postgres:secret@127.0.0.1:5432/bindery",
    "GOOGLE_CLOUD_PROJECT": "bindery-local",
    "FIRESTORE_EMULATOR_HOST": "127.0.0.1:8421",
    "PUBSUB_EMULATOR_HOST": "127.0.0.1:8422",
}


def values(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_vite_and_next_are_told_what_a_page_needs_and_no_secret(tmp_path: Path) -> None:
    file = write_env_file(tmp_path, EMULATORS)

    assert file == tmp_path / ".env.local"
    assert values(file) == {
        f"{prefix}{name}": value
        for prefix in ("VITE_", "NEXT_PUBLIC_")
        for name, value in (
            ("BINDERY_URL", "http://127.0.0.1:8420"),
            ("FIREBASE_PROJECT_ID", "bindery-local"),
            ("FIRESTORE_EMULATOR_HOST", "127.0.0.1:8421"),
        )
    }


def test_the_embedded_stack_has_no_firestore_to_tell_of(tmp_path: Path) -> None:
    file = write_env_file(tmp_path, {"BINDERY_URL": "http://127.0.0.1:8420"})

    assert set(values(file)) == {"VITE_BINDERY_URL", "NEXT_PUBLIC_BINDERY_URL"}


@pytest.mark.parametrize("before", ["", "MINE=1", "MINE=1\n", "MINE=1\n\n# mine\n"])
def test_what_else_is_in_the_file_stays_however_often_it_is_written(tmp_path: Path, before: str) -> None:
    file = tmp_path / ".env.local"
    file.write_text(before)
    write_env_file(tmp_path, EMULATORS)
    with file.open("a") as more:
        more.write("LATER=2\n")
    write_env_file(tmp_path, EMULATORS | {"BINDERY_URL": "http://127.0.0.1:9"})
    once = file.read_text()
    write_env_file(tmp_path, EMULATORS | {"BINDERY_URL": "http://127.0.0.1:9"})

    assert file.read_text() == once
    assert once.startswith(before)
    assert values(file)["VITE_BINDERY_URL"] == "http://127.0.0.1:9"
    assert values(file)["LATER"] == "2"
    assert once.count("VITE_BINDERY_URL") == 1
