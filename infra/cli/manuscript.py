"""Manuscripts as files, or on standard input (`-`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.command_name import BINDERY
from infra.cli.decoding import UTF_8, Decoded, NotText, UnknownEncoding, decode
from infra.cli.endings import USAGE, say, stop

Encoding = Annotated[
    str | None, typer.Option("--encoding", metavar="NAME", help="The file's encoding, as cp1252; else it is found out.")
]


class Unreadable(Exception):
    """There is no text in a file that can be imported. The message says why, and what to do; `code` is for machines."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read_manuscript(file: str, encoding: str | None) -> str:
    """Its text. Says in which encoding it was read, unless that is UTF-8. Ends the command if there is no text."""
    name = "standard input" if file == "-" else file
    try:
        decoded = decode_manuscript(read_bytes(file), name, encoding)
    except Unreadable as error:
        stop(str(error), USAGE)
    if note := note_on_encoding(name, decoded, encoding):
        say(f"{BINDERY}: {note}")
    return decoded.text


def read_bytes(file: str) -> bytes:
    """Raises Unreadable."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except (OSError, ValueError) as error:
        raise Unreadable("unreadable_file", f"{file}: {getattr(error, 'strerror', None) or error}") from error


def decode_manuscript(raw: bytes, name: str, encoding: str | None) -> Decoded:
    """The text of a file of that name. Raises Unreadable."""
    try:
        return decode(raw, encoding)
    except NotText as error:
        message = f"{name} is {error}; only text and Markdown can be imported: save it as text first"
        raise Unreadable("not_text", message) from error
    except UnknownEncoding as error:
        message = f"{name}: {error}; name the right one by --encoding, or save it as UTF-8"
        raise Unreadable("unknown_encoding", message) from error


def note_on_encoding(name: str, decoded: Decoded, encoding: str | None) -> str:
    """What people should know of an encoding that was found out; nothing if that is UTF-8, or they named it."""
    if encoding is not None or decoded.encoding == UTF_8:
        return ""
    return f"{name} is read as {decoded.encoding}; if letters come out wrong, name another by --encoding"


def title_of(file: str, content: str) -> str:
    """A Markdown book's own title, else the file's name."""
    first = next((line for line in content.splitlines() if line.strip()), "")
    if first.startswith("# "):
        return first[2:].strip()
    return "Untitled" if file == "-" else Path(file).stem.replace("-", " ").replace("_", " ").title()
