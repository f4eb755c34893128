"""Manuscripts in any encoding are read as they were written; what is no text is refused by name."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from infra.cli.decoding import NotText, UnknownEncoding, decode
from infra.cli.manuscript import read_manuscript

PROSE = {
    "french": "« Où étiez-vous donc ? » demanda la vieille dame. Il n’avait pas dormi depuis l’été ; le cœur lui battait"
    " encore à la pensée du naufrage. Elle répondit : « Rien n’est perdu, mon garçon. »\n",
    "german": "Der Buchbinder öffnete die Tür und grüßte die alte Frau höflich. „Müssen Sie wirklich schon gehen?“,"
    " fragte er – draußen stürmte es, und über den Dächern jagten Wolken.\n",
    "spanish": "El niño preguntó: ¿dónde está la señora? Nadie respondió; mañana, quizás, alguien le diría la verdad"
    " sobre el señor Muñoz y su corazón.\n",
    "english": "“I don’t believe you,” said Harriet—and she meant it. The café had closed; ‘Tomorrow,’ he said,"
    " “tomorrow I’ll bring the £5 that I owe you.”\n",
    "plain english": "It was the best of times, it was the worst of times, it was the age of wisdom.\n",
    "polish": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Żółw zażółcił gęślą"
    " jaźń, a potem poszedł spać.\n",
    "russian": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему."
    " Всё смешалось в доме Облонских.\n",
    "greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.\n",
    "japanese": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で"
    "ニャーニャー泣いていた事だけは記憶している。\n",
}
UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")
LEGACY = [
    *(("french", e) for e in ("cp1252", "mac_roman")),
    *(("german", e) for e in ("cp1252",)),
    *(("spanish", e) for e in ("cp1252", "latin-1", "iso8859-15")),
    *(("english", e) for e in ("cp1252", "mac_roman")),
    *(("polish", e) for e in ("cp1250", "iso8859-2")),
    *(("russian", e) for e in ("cp1251", "koi8-r")),
    ("greek", "cp1253"),
    *(("japanese", e) for e in ("shift-jis", "euc-jp")),
]


@pytest.mark.parametrize(("language", "encoding"), [*LEGACY, *((text, e) for text in PROSE for e in UNICODE)])
def test_prose_is_read_as_it_was_written(language: str, encoding: str) -> None:
    text = f"Chapter 1\n\n{PROSE[language]}"
    assert decode(text.encode(encoding)).text == text


def test_latin_1_without_typographers_quotes_is_read_too() -> None:
    text = PROSE["french"].replace("’", "'").replace("œ", "oe")
    assert decode(text.encode("latin-1")).text == text


def test_a_novel_in_utf_16_is_read_at_once() -> None:
    text = PROSE["russian"] * 20_000
    assert decode(text.encode("utf-16-le")).text == text


def test_the_encoding_that_is_named_is_taken() -> None:
    assert decode("Żółw".encode("iso8859-2"), "iso8859-2").text == "Żółw"
    with pytest.raises(UnknownEncoding):
        decode("Żółw".encode("iso8859-2"), "utf-8")
    with pytest.raises(UnknownEncoding):
        decode(b"x", "klingon")


def test_a_stray_nul_is_left_for_the_api_to_place() -> None:
    raw = b"a long line of plain text with one \0 among many words"
    assert decode(raw).text == raw.decode()


@pytest.mark.parametrize(
    "raw",
    [
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
        b"PK\x03\x04\x14\x00\x06\x00" + random.Random(1).randbytes(40),
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        b"{\\rtf1\\ansi Hello}",
        bytes(range(256)) * 20,
    ],
)
def test_what_is_no_text_is_refused(raw: bytes) -> None:
    with pytest.raises(NotText):
        decode(raw)


def test_an_encoding_is_named_unless_it_is_utf_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "novel.txt"
    file.write_text(PROSE["english"], "utf-8")
    read_manuscript(str(file), None)
    assert capsys.readouterr().err == ""

    file.write_text(PROSE["english"], "cp1252")
    assert read_manuscript(str(file), None) == PROSE["english"]
    assert "novel.txt is read as cp1252" in capsys.readouterr().err
