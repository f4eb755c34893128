"""Passages, words and tokens in ten scripts, and in what nobody writes."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.google.vertex_embedder import VertexEmbedder
from shared.domain.packing import pack
from shared.domain.splitting.chapters import split_chapters
from shared.domain.splitting.chunks import MAX_BYTES, split_chunks
from shared.domain.splitting.words import count_words
from shared.domain.tokens import estimate_tokens
from tests.support.fake_vertex import MAX_REQUEST_TOKENS, MAX_TEXT_TOKENS, MAX_TEXTS, count_tokens
from tests.support.languages import SCRIPTS, Script, prose, unbroken

MODEL = VertexEmbedder("p", "us-central1", "text-embedding-005").model
BY_NAME = {s.name: s for s in SCRIPTS}

each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
# The first text waits for the vocabulary to be loaded.
quickly_or_not = settings(deadline=None, max_examples=30)
seeds = st.integers(0, 2**32)
# Marks on no letter, emoji of several characters, scripts that no table here names, gaps without end.
odd = st.sampled_from(
    ["\u0301" * 500, "👩‍👩‍👧🇩🇪" * 200, "ሰላም" * 300, "ꦲꦏꦱꦫ" * 300, "\n" * 3_000, " " * 3_000, "x" * 2_500, "。" * 300]
)


@st.composite
def texts(draw: st.DrawFn, *scripts: Script) -> str:
    """Prose and unbroken runs, with something odd now and then."""
    source = random.Random(draw(seeds))
    parts = []
    for _ in range(draw(st.integers(1, 5))):
        write = source.choice([prose, unbroken])
        parts.append(write(source.choice(scripts), source, draw(st.integers(0, 3_000))))
        if draw(st.integers(0, 5)) == 0:
            parts.append(draw(odd))
    return draw(st.sampled_from(["", " ", "\n\n"])).join(parts)


def assert_passages(text: str) -> None:
    """No letter is lost, none comes twice, and the model takes each passage."""
    chunks = split_chunks(text)
    assert "".join("".join(c.text.split()) for c in chunks) == "".join(text.split())
    assert all(c.text == text[c.start : c.end] for c in chunks)
    assert all(a.end <= b.start for a, b in pairwise(chunks))
    assert all(len(c.text.encode()) <= MAX_BYTES for c in chunks)
    assert all(count_tokens(c.text) <= MAX_TEXT_TOKENS for c in chunks)


@each_script
def test_every_passage_is_within_the_models_limit_in_any_script(script: Script) -> None:
    @quickly_or_not
    @given(texts(script))
    def holds(text: str) -> None:
        assert_passages(text)

    holds()


@quickly_or_not
@given(texts(*SCRIPTS))
def test_every_passage_is_within_the_models_limit_in_a_mix_of_scripts(text: str) -> None:
    assert_passages(text)


@quickly_or_not
@given(st.text(max_size=200).flatmap(lambda piece: st.integers(1, 100).map(lambda n: piece * n)))
def test_every_passage_is_within_the_models_limit_whatever_the_text(text: str) -> None:
    assert_passages(text)


@each_script
def test_requests_are_within_the_models_limits_in_any_script(script: Script) -> None:
    source = random.Random(script.name)
    for write in (prose, unbroken):
        passages = [k.text for k in split_chunks(write(script, source, 60_000))]
        sizes = [(t, estimate_tokens(t)) for t in passages]
        requests = pack(sizes, max_weight=MODEL.max_request_tokens, max_items=MODEL.max_texts)

        assert [t for request in requests for t in request] == passages
        assert all(len(request) <= MAX_TEXTS for request in requests)
        assert all(sum(map(count_tokens, request)) <= MAX_REQUEST_TOKENS for request in requests)


@each_script
def test_passages_are_of_even_length_in_any_script(script: Script) -> None:
    chunks = split_chunks(prose(script, random.Random(script.name), 30_000))
    lengths = [len(c.text.encode()) for c in chunks]

    assert max(c.word_count for c in chunks) <= 250
    assert min(lengths) >= 0.4 * max(lengths)
    assert sum(lengths) / len(lengths) >= (450 if script.name in ("han", "kana") else 1_000)


def test_passages_of_english_have_about_two_hundred_words(sample: Path) -> None:
    text = sample.read_text("utf-8")
    words = [k.word_count for s in split_chapters(text).chapters for k in split_chunks(text[s.start : s.end])]

    assert 180 <= sum(words) / len(words) <= 220
    assert 150 <= min(words) <= max(words) <= 250


@each_script
def test_passages_end_with_sentences_in_any_script(script: Script) -> None:
    text = prose(script, random.Random(script.name), 30_000)
    chunks = split_chunks(text)

    assert all(text[c.end : c.end + 1].isspace() or c.text.endswith("。") for c in chunks[:-1])


def test_a_clause_without_punctuation_is_cut() -> None:
    chunks = split_chunks(("我" * 39 + "，") * 100)

    assert max(len(c.text) for c in chunks) <= 250
    assert all(c.text.endswith("，") for c in chunks)


@pytest.mark.parametrize("script", ["thai", "devanagari", "arabic"])
def test_no_passage_begins_with_a_mark_that_belongs_to_the_letter_before(script: str) -> None:
    text = unbroken(BY_NAME[script], random.Random(script), 10_000)

    assert not [c.text[0] for c in split_chunks(text) if c.text[0] in "ัิีึืฺุู็่้๊๋์ํ๎्ािीुूेैोौंँًٌٍَُِّ"]


@each_script
@pytest.mark.parametrize("write", [prose, unbroken])
def test_a_million_characters_cost_no_more_than_their_number(script: Script, write: object) -> None:
    """With the square of it, this would not end."""
    text = (prose if write is prose else unbroken)(script, random.Random(1), 20_000) * 50

    assert len(split_chapters(text).chapters) > 1
    assert sum(len(c.text) for c in split_chunks(text)) >= 0.9 * len(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我今天去学校上课。", 8),
        ("Hello 你好", 3),
        ("すべての人間は、", 7),
        ("カタカナ・ヒラガナー", 9),
        ("모든 인간은 태어날", 3),
        ("हिन्दी की किताब", 3),
        ("सभी मनुष्यों को", 3),
        ("שָׁלוֹם עוֹלָם", 2),
        ("أحرارًا متساوين", 2),
        ("می‌خواهم بروم", 2),
        ("cafe\u0301s cafés", 2),
        ("มนุษย์ทั้งหลายเกิดมามีอิสระ", 7),
        ("១២៣ ភាសាខ្មែរ", 4),
        ("字" * 4_300, 4_300),
        ("x" * 48, 6),
    ],
)
def test_words_are_counted_as_word_processors_do(text: str, words: int) -> None:
    assert count_words(text) == words


def test_a_text_without_headings_becomes_chapters_of_the_same_length_in_any_script() -> None:
    chapters = split_chapters("我今天去学校上课。" * 2_000).chapters

    assert 5 <= len(chapters) <= 6


@each_script
def test_an_estimate_is_no_less_than_the_models_count_and_not_many_times_more(script: Script) -> None:
    text = prose(script, random.Random(script.name), 20_000)

    assert 0.95 <= estimate_tokens(text) / count_tokens(text) <= 2.5


@pytest.mark.parametrize("text", ["ꦲꦏꦱꦫ" * 50, "ሰላም" * 50, "👩‍👩‍👧🇩🇪" * 50])
def test_a_script_that_is_not_known_has_as_many_tokens_as_bytes(text: str) -> None:
    assert 0.9 <= estimate_tokens(text) / len(text.encode()) <= 1.01


@given(st.text(max_size=50))
def test_no_estimate_is_above_the_bytes(text: str) -> None:
    assert 1 <= estimate_tokens(text) <= len(text.encode()) + 1
