"""Finds manuscripts by the paths that people name: files, folders, and patterns such as `drafts/*.md`."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from infra.cli.endings import USAGE, stop

EXTENSIONS = (".markdown", ".md", ".text", ".txt")
"""How the names of manuscripts end, in any case. A file that is named itself may end otherwise."""


def is_for_many(path: str) -> bool:
    """Whether a path stands for what is found by it, not for one file."""
    return path != "-" and (Path(path).is_dir() or _is_pattern(path))


def find_manuscripts(paths: Sequence[str]) -> list[str]:
    """Each file once, in the order of the paths; what a folder holds, at any depth, and what matches a pattern, sorted.

    Hidden files and folders are left out. Ends the command if a path leads to no manuscript.
    """
    found: dict[str, None] = {}
    for path in paths:
        found |= dict.fromkeys(str(Path(file)) for file in _found_by(path))
    return list(found)


def _found_by(path: str) -> Sequence[str]:
    if path == "-":
        stop("standard input is one manuscript: import it alone", USAGE)
    if Path(path).is_dir():
        return _in_folder(path)
    if not _is_pattern(path):
        return [path]  # whether it can be read, its import finds out
    matches = sorted(glob.glob(path, recursive=True))
    files = [file for match in matches for file in (_in_folder(match) if Path(match).is_dir() else [match])]
    return files or stop(f"{path}: no file matches", USAGE)


def _is_pattern(path: str) -> bool:
    return glob.has_magic(path) and not Path(path).exists()


def _in_folder(folder: str) -> list[str]:
    ends = ", ".join(EXTENSIONS)
    return sorted(_walk(folder), key=lambda file: Path(file).parts) or stop(
        f"{folder}: there is no manuscript in this folder; their names end in {ends}", USAGE
    )


def _walk(folder: str) -> Iterator[str]:
    for where, folders, files in os.walk(folder, onerror=_stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (
            str(Path(where, name)) for name in files if not name.startswith(".") and name.lower().endswith(EXTENSIONS)
        )


def _stop(error: OSError) -> NoReturn:
    stop(f"{error.filename}: {error.strerror}", USAGE)
