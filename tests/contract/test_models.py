"""One suite for every embedder, and one for every extractor of contexts."""

from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.adapters.fake_models import FakeContextExtractor, FakeEmbedder
from shared.adapters.google.vertex_context import VertexContextExtractor
from shared.adapters.google.vertex_embedder import VertexEmbedder
from shared.adapters.local_models.context import LocalContextExtractor
from shared.adapters.local_models.embedder import LocalEmbedder
from shared.domain.contexts import ChapterMetadata, Mention
from shared.domain.embeddings import EmbeddingTask
from shared.ports import ContextExtractor, Embedder
from tests.support.fake_vertex import client_of

DOCUMENT = EmbeddingTask.DOCUMENT
TEXTS = ["A short one.", "A much longer text about the harbour, the sea and the ships. " * 12, "", "Ends.", "你好"]
LOCAL = LocalEmbedder()


@pytest.fixture(params=["local", "fake", "vertex"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "vertex":
        vertex = request.getfixturevalue("vertex")
        return VertexEmbedder("p", "us-central1", "text-embedding-005", new_client=lambda: client_of(vertex))
    return LOCAL if request.param == "local" else FakeEmbedder()


def test_there_is_a_unit_vector_for_each_text_in_order(embedder: Embedder) -> None:
    vectors = embedder.embed(TEXTS, DOCUMENT)

    assert [len(v) for v in vectors] == [embedder.model.dimensions] * len(TEXTS)
    assert all(math.isclose(math.hypot(*v), 1.0, abs_tol=1e-4) for v in vectors)
    assert embedder.embed([], DOCUMENT) == []


def test_a_text_has_the_same_vector_alone_and_among_others(embedder: Embedder) -> None:
    together = embedder.embed(TEXTS * 3, DOCUMENT)
    for n, text in enumerate(TEXTS):
        (alone,) = embedder.embed([text], DOCUMENT)
        assert math.dist(alone, together[n]) < 1e-3
        assert math.dist(alone, together[n + len(TEXTS)]) < 1e-3


def test_many_threads_get_the_same_vectors(embedder: Embedder) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: embedder.embed(TEXTS[:2], DOCUMENT), range(8)))
    assert all(math.dist(a, b) < 1e-3 for vectors in found for a, b in zip(vectors, found[0], strict=True))


def test_the_local_model_knows_what_is_alike() -> None:
    near, query, far = LOCAL.embed(["The vessel sank.", "A ship went down.", "He baked bread."], DOCUMENT)
    assert math.dist(query, near) < math.dist(query, far)


@pytest.fixture(params=["local", "fake", "vertex"])
def extractor(request: pytest.FixtureRequest) -> ContextExtractor:
    if request.param == "vertex":
        vertex = request.getfixturevalue("vertex")
        return VertexContextExtractor("p", "us-central1", "gemini", new_client=lambda: client_of(vertex))
    return LocalContextExtractor() if request.param == "local" else FakeContextExtractor()


@pytest.mark.parametrize("text", ["", "x", "?! …", "你好。" * 2000, "A" * 5000, "One. Two. Three.", "\n\n# Title\n\n"])
def test_any_text_can_be_read(extractor: ContextExtractor, text: str) -> None:
    chapter = extractor.chapter("T", text)
    assert extractor.chapter("T", text) == chapter
    assert isinstance(extractor.quick("T", text).summary, str)
    assert isinstance(extractor.full("T", [chapter, chapter]).summary, str)
    assert isinstance(extractor.full("T", []).summary, str)


STORY = (
    "Chapter 1\n\nMr. Grey walked slowly from Dunmore towards the sea, and he thought of nothing but the storm."
    " “Come back,” said Clara. Clara was the daughter of the lighthouse keeper in Dunmore."
    " The ship had been seen near Dunmore on the evening of the storm.\n\n"
    "Clara knew that Mr. Grey had a secret. Mr. Grey looked at the harbour, and Clara asked him about the letter."
    " They met in Dunmore again, and Mr. Grey told Clara everything that he had found in the old harbour.\n\n"
)


def test_the_local_extractor_finds_people_places_and_whole_sentences() -> None:
    chapter = LocalContextExtractor().chapter("Chapter 1", STORY * 2)

    assert {"Clara", "Mr. Grey"} <= {m.name for m in chapter.characters}
    assert "Dunmore" in {m.name for m in chapter.places}
    assert "Chapter 1" not in chapter.summary
    assert chapter.summary.endswith((".", "”"))


def test_the_whole_book_shows_what_no_chapter_does_alone() -> None:
    extractor = LocalContextExtractor()
    chapters = [extractor.chapter("c", f"It rained. Then Edith was alone in room {n}.") for n in range(5)]

    assert not any(c.characters for c in chapters)
    assert "Edith" in {m.name for m in extractor.full("B", chapters).characters}


def test_the_local_extractor_reduces_what_another_model_found() -> None:
    one = ChapterMetadata(
        summary="Ann left the harbour in a storm.",
        characters=(Mention(name="Ann", count=3), Mention(name="Ben", count=4)),
        places=(Mention(name="Dunmore", count=2),),
        themes=("storm", "farewell"),
    )
    two = ChapterMetadata(
        summary="Ben waited in Dunmore.", characters=(Mention(name="Ann", count=2),), themes=("farewell",)
    )
    book = LocalContextExtractor().full("B", [one, two])

    assert book.summary == "Ann left the harbour in a storm. Ben waited in Dunmore."
    assert book.characters == (Mention(name="Ann", count=5), Mention(name="Ben", count=4))
    assert book.places == (Mention(name="Dunmore", count=2),)
    assert book.themes == ("farewell", "storm")


def test_importing_the_local_models_loads_neither_numpy_nor_onnxruntime() -> None:
    code = (
        "import sys, shared.adapters.local_models.embedder, shared.adapters.local_models.context\n"
        "sys.exit(bool({'numpy', 'onnxruntime', 'tokenizers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
