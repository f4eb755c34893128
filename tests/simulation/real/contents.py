"""What books hold in the end: text where it belongs, vectors of that text, and answers that were given to it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tests.simulation.invariants import Broken
from tests.simulation.real.ledger import Call

if TYPE_CHECKING:
    from tests.simulation.real.simulation import RealSimulation

Row = dict[str, Any]

SELECT_VERSIONS_THAT_ARE_SPLIT = """
    SELECT book_id, version, content, front_matter, back_matter, version = latest_version AS is_latest
    FROM book_versions JOIN books USING (book_id) WHERE split_method IS NOT NULL ORDER BY book_id, version
"""
SELECT_CHAPTERS = """
    SELECT chapter_id, chapter_number, content, start_offset, end_offset, metadata, metadata_model,
           embedding_vector::text AS vector
    FROM recent_chapters WHERE book_id = %s AND version = %s ORDER BY chapter_number
"""
SELECT_CHUNKS = """
    SELECT chunk_index, chunk_text, start_offset, end_offset, word_count, chunk_embedding::text AS vector
    FROM chapter_chunks WHERE chapter_id = %s ORDER BY chunk_index
"""
SELECT_FULL_CONTEXT = "SELECT context FROM book_contexts WHERE book_id = %s AND version = %s AND mode = 'full'"

DIMENSIONS = 384
_CLOSE = 1e-5


def check(sim: RealSimulation) -> None:
    """Raises Broken."""
    calls = {c.number: c for c in sim.ledger.calls}
    for version in sim.watch.rows(SELECT_VERSIONS_THAT_ARE_SPLIT):
        chapters = sim.watch.rows(SELECT_CHAPTERS, version["book_id"], version["version"])
        name = f"{version['book_id']} v{version['version']}"
        _tile(name, version, chapters)
        for chapter in chapters:
            place = f"{name} chapter {chapter['chapter_number']}"
            chunks = sim.watch.rows(SELECT_CHUNKS, chapter["chapter_id"])
            _chunks_are_of_their_chapter(place, chapter, chunks)
            _vectors_are_of_their_text(place, chapter, chunks)
            _metadata_is_of_its_text(place, version, chapter, calls)
        if version["is_latest"]:
            for row in sim.watch.rows(SELECT_FULL_CONTEXT, version["book_id"], version["version"]):
                _context_is_of_its_chapters(name, row["context"], chapters, calls)


def _tile(name: str, version: Row, chapters: Sequence[Row]) -> None:
    together = version["front_matter"] + "".join(c["content"] for c in chapters) + version["back_matter"]
    if together != version["content"]:
        raise Broken("chapters tile the manuscript", f"{name}: {len(together)} of {len(version['content'])} characters")
    for chapter in chapters:
        if version["content"][chapter["start_offset"] : chapter["end_offset"]] != chapter["content"]:
            raise Broken("chapters tile the manuscript", f"{name}: chapter {chapter['chapter_number']} is elsewhere")


def _chunks_are_of_their_chapter(place: str, chapter: Row, chunks: Sequence[Row]) -> None:
    if (chapter["vector"] is None) != (not chunks):
        raise Broken(
            "chunks are of their chapter", f"{place}: {len(chunks)} chunks, vector: {chapter['vector'] is not None}"
        )
    text, end = chapter["content"], 0
    for n, chunk in enumerate(chunks):
        here = text[chunk["start_offset"] : chunk["end_offset"]]
        between = text[end : chunk["start_offset"]]
        end = chunk["end_offset"]
        if chunk["chunk_index"] != n or here != chunk["chunk_text"] or re.search(r"\w", between):
            raise Broken("chunks are of their chapter", f"{place}, chunk {chunk['chunk_index']}: {here!r}")
    if chunks and re.search(r"\w", text[end:]):
        raise Broken("chunks are of their chapter", f"{place}: nothing has {text[end:]!r}")


def fake_vector(text: str) -> list[float]:
    """What the fake model makes of a text, but for the last number, in which a call leaves its mark."""
    noise = hashlib.shake_256(text.encode()).digest(DIMENSIONS // 8)
    bits = "".join(f"{byte:08b}" for byte in noise)[:-1]
    return _unit([1.0 if bit == "1" else -1.0 for bit in bits])


def _unit(numbers: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(n * n for n in numbers))
    return [n / length for n in numbers]


def _vectors_are_of_their_text(place: str, chapter: Row, chunks: Sequence[Row]) -> None:
    total = [0.0] * DIMENSIONS
    for chunk in chunks:
        vector = json.loads(chunk["vector"])[:DIMENSIONS]
        if _distance(_unit(vector[:-1]), fake_vector(chunk["chunk_text"])) > _CLOSE:
            raise Broken("vectors are of their text", f"{place}, chunk {chunk['chunk_index']}")
        weight = max(1, chunk["word_count"])
        total = [t + weight * x for t, x in zip(total, vector, strict=True)]
    if chunks and _distance(_unit(total), json.loads(chapter["vector"])[:DIMENSIONS]) > 10 * _CLOSE:
        raise Broken("a chapter's vector is the mean of its chunks'", place)


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _metadata_is_of_its_text(place: str, version: Row, chapter: Row, calls: Mapping[int, Call]) -> None:
    """It was answered to a question about this very text, for this book."""
    if chapter["metadata"] is None:
        return
    call = calls[_number(chapter["metadata"]["summary"])]
    if (call.what, call.book_id, call.question[0]) != ("chapter", str(version["book_id"]), chapter["content"]):
        raise Broken("metadata is of its text", f"{place}: {chapter['metadata']['summary']!r} was answered to {call}")


def _context_is_of_its_chapters(name: str, context: Row, chapters: Sequence[Row], calls: Mapping[int, Call]) -> None:
    """The one that was reduced from what readers see of the chapters, and from nothing else."""
    summaries = tuple(c["metadata"]["summary"] for c in chapters if c["metadata"])
    if context.get("reduced_because"):
        return
    call = calls[_number(context["summary"])]
    if call.what != "full" or call.question[1:] != summaries:
        raise Broken("a context is of its chapters", f"{name}: of {call.question[1:]}\n  and there are {summaries}")


def _number(summary: str) -> int:
    return int(summary.rpartition("#")[2])
