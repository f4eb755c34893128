"""Manuscripts as files, or on standard input (`-`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.command_name import BINDERY
from infra.cli.decoding import UTF_8, NotText, UnknownEncoding, decode
from infra.cli.endings import USAGE, say, stop

Encoding = Annotated[
    str | None, typer.Option("--encoding", metavar="NAME", help="The file's encoding, as cp1252; else it is found out.")
]


def read_manuscript(file: str, encoding: str | None) -> str:
    """Its text. Says in which encoding it was read, unless that is UTF-8. Ends the command if there is no text."""
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except (OSError, ValueError) as error:
        stop(f"{file}: {getattr(error, 'strerror', None) or error}", USAGE)
    name = "standard input" if file == "-" else file
    try:
        decoded = decode(raw, encoding)
    except NotText as error:
        stop(f"{name} is {error}; only text and Markdown can be imported: save it as text first", USAGE)
    except UnknownEncoding as error:
        stop(f"{name}: {error}; name the right one by --encoding, or save it as UTF-8", USAGE)
    if encoding is None and decoded.encoding != UTF_8:
        say(f"{BINDERY}: {name} is read as {decoded.encoding}; if letters come out wrong, name another by --encoding")
    return decoded.text


def title_of(file: str, content: str) -> str:
    """A Markdown book's own title, else the file's name."""
    first = next((line for line in content.splitlines() if line.strip()), "")
    if first.startswith("# "):
        return first[2:].strip()
    return "Untitled" if file == "-" else Path(file).stem.replace("-", " ").replace("_", " ").title()
