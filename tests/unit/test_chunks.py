from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.splitting.chunks import Chunk, split_chunks
from shared.domain.splitting.words import count_words

SENTENCE = "The quick brown fox jumps over the lazy dog. "

soup = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(
            [
                " ",
                "\n",
                "\n\n",
                "\r\n\r\n",
                SENTENCE,
                "word " * 30,
                "x" * 2500,
                "我是学生。" * 300,
                "a-b" * 200,
            ]
        ),
    ),
    max_size=40,
).map("".join)


def visible(text: str) -> str:
    return "".join(text.split())


def tokens(chunk: Chunk) -> int:
    return len(chunk.text.split())


def test_paragraphs_are_kept_whole_where_they_fit() -> None:
    paragraphs = [SENTENCE.strip() + f" Number {i}." for i in range(100)]

    chunks = split_chunks("\n\n".join(paragraphs), target_words=50)

    assert list(itertools.chain(*(c.text.split("\n\n") for c in chunks))) == paragraphs
    assert all(40 <= c.word_count <= 62 for c in chunks)


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    chunks = split_chunks(SENTENCE * 100)

    assert len(chunks) == 4
    assert all(c.text.startswith("The quick") and c.text.endswith("dog.") for c in chunks)


def test_a_long_sentence_is_cut_between_words() -> None:
    chunks = split_chunks("word " * 1000)

    assert [c.word_count for c in chunks] == [200] * 5


def test_a_short_text_is_one_chunk_without_its_white_space() -> None:
    assert split_chunks("\n\n  Hello, world. \n") == [
        Chunk(index=0, text="Hello, world.", start=4, end=17, word_count=2)
    ]


@pytest.mark.parametrize("text", ["", "  \r\n\t\n"])
def test_white_space_has_no_chunks(text: str) -> None:
    assert split_chunks(text) == []


@pytest.mark.parametrize("words", range(190, 700, 7))
def test_no_crumb_is_left_at_the_end(words: int) -> None:
    chunks = split_chunks("word " * words)

    assert min(c.word_count for c in chunks) >= 50
    assert max(c.word_count for c in chunks) <= 250


def test_scripts_without_spaces_are_cut() -> None:
    assert len(split_chunks("字" * 10_000)) > 4
    assert all(c.text.endswith("。") for c in split_chunks("我今天去学校上课。" * 1000))


@pytest.mark.parametrize("target", [1, 200, 5000])
def test_a_giant_word_is_cut_at_two_thousand_characters_at_most(target: int) -> None:
    chunks = split_chunks("x" * 9000, target_words=target)

    assert max(len(c.text) for c in chunks) <= 2000


def test_a_word_of_two_thousand_characters_is_left_whole() -> None:
    assert "x" * 2000 in [c.text for c in split_chunks("a " + "x" * 2000 + " b")]


def test_a_target_below_one_word_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one word"):
        split_chunks("word", target_words=0)


def test_words_are_runs_of_letters_and_digits() -> None:
    assert count_words("One--two, three... 4 — !") == 4


@given(text=soup, target=st.sampled_from([1, 2, 7, 50, 200]))
def test_every_visible_character_is_in_exactly_one_chunk(text: str, target: int) -> None:
    chunks = split_chunks(text, target_words=target)

    assert "".join(visible(c.text) for c in chunks) == visible(text)
    assert [c.index for c in chunks] == list(range(len(chunks)))
    assert all(c.text == text[c.start : c.end] == c.text.strip() for c in chunks)
    assert all(a.end <= b.start for a, b in itertools.pairwise(chunks))
    assert all(c.word_count >= 1 for c in chunks)


@given(text=soup, target=st.sampled_from([1, 2, 7, 50, 200]))
def test_no_chunk_is_longer_than_the_limit_unless_it_is_one_word(text: str, target: int) -> None:
    chunks = split_chunks(text, target_words=target)

    assert all(c.word_count <= 1.25 * target and tokens(c) <= 1.25 * target for c in chunks if tokens(c) > 1)
    assert all(len(c.text) <= 2000 for c in chunks if tokens(c) == 1)
