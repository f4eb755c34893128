"""The text of a file whose encoding nobody tells."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from charset_normalizer import CharsetMatches, from_bytes

UTF_8 = "utf-8"

# The likelier first: of two that fit equally well, the first is taken. Encodings that no author's program writes any
# more are left out, since a short text fits many of them.
_ENCODINGS = (
    *("utf_16", "utf_16_le", "utf_16_be", "utf_32", "cp1252", "cp1250", "cp1251", "mac_roman", "iso8859_2", "koi8_r"),
    *("cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp932", "euc_jp", "gb18030", "big5", "cp949"),
)
_AS_GOOD = 0.02
"""Of the share of characters that look out of place (`chaos`, 0 to 1): a smaller difference says nothing."""

_NULS_OF_UTF_16 = 0.05

_SIGNATURES = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zipped file, as EPUB, DOCX and ODT are"),
    (b"\xd0\xcf\x11\xe0", "an old Word document"),
    (b"{\\rtf", "an RTF document"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"RIFF", "an image or a recording"),
    (b"\x1f\x8b", "a compressed file"),
    (b"\x7fELF", "a program"),
)
_CONTROLS = frozenset(chr(c) for c in range(32)) - frozenset("\t\n\r\f")


class NotText(Exception):
    """These bytes are no text. The message says what they are, as far as that is known."""


class UnknownEncoding(Exception):
    """They may be text, in an encoding that can't be told, or not in the one that was named."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    text: str
    encoding: str


def decode(raw: bytes, encoding: str | None = None) -> Decoded:
    """The text and its encoding: the one that is named, else UTF-8, else what it most likely is.

    Raises NotText and UnknownEncoding.
    """
    for signature, kind in _SIGNATURES:
        if raw.startswith(signature):
            raise NotText(kind)
    if encoding is not None:
        return _decode_as(raw, encoding)
    try:
        utf_8 = Decoded(text=raw.decode("utf-8-sig"), encoding=UTF_8)
    except UnicodeDecodeError:
        return _detect(raw)
    # UTF-16 may pass for UTF-8 with NULs. A stray NUL is for the API to refuse: it says where.
    if not _may_be_utf_16(raw):
        return utf_8
    try:
        return _detect(raw)
    except (NotText, UnknownEncoding):
        return utf_8


def _may_be_utf_16(raw: bytes) -> bool:
    """Whether its NULs are many, and the same halves of characters: those of letters, or at least of spaces."""
    even, odd = raw[::2].count(0), raw[1::2].count(0)
    return min(even, odd) == 0 and max(even, odd) > len(raw) * _NULS_OF_UTF_16


def _decode_as(raw: bytes, encoding: str) -> Decoded:
    try:
        name = codecs.lookup(encoding).name
        return Decoded(text=raw.decode("utf-8-sig" if name == UTF_8 else name), encoding=name)
    except LookupError:
        raise UnknownEncoding(f"{encoding} is not a known encoding; utf-16 and cp1252 are") from None
    except UnicodeDecodeError as error:
        raise UnknownEncoding(f"it is not {encoding} (byte {error.start})") from None


def _detect(raw: bytes) -> Decoded:
    matches: CharsetMatches = from_bytes(raw, cp_isolation=list(_ENCODINGS), enable_fallback=False)
    if not matches:
        # Bytes that no text has: there is no encoding to name.
        raise NotText("a binary file") if b"\0" in raw else UnknownEncoding("its encoding can't be told")
    close = [match for match in matches if match.chaos - matches[0].chaos <= _AS_GOOD]
    likeliest = [(n, m) for n in _ENCODINGS for m in close if n in m.could_be_from_charset]
    name, match = likeliest[0] if likeliest else (close[0].encoding, close[0])
    text = str(match)
    if not _CONTROLS.isdisjoint(text):
        raise NotText("a binary file")
    return Decoded(text=text, encoding=name)
