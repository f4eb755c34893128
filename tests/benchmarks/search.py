"""What search finds and takes among many passages of many owners: against a comparison of all vectors, in the same run.

Vectors are the local model's, of the novels that are given, or of generated manuscripts; `many_vectors` multiplies them.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg

from infra.local.database import MIGRATIONS
from infra.local.postgres import THROWAWAY, Postgres
from shared.adapters.local_models.embedder import LocalEmbedder
from shared.adapters.postgres.database import Database, to_column
from shared.adapters.postgres.migrations import migrate
from shared.adapters.postgres.search_index import PostgresSearchIndex
from shared.domain.embeddings import EmbeddingTask, Vector
from shared.domain.splitting.chapters import split_chapters
from shared.domain.splitting.chunks import split_chunks
from shared.use_cases.search import CANDIDATES
from tests.benchmarks.manuscripts import manuscripts
from tests.benchmarks.many_vectors import Vectors, lying, multiply
from tests.support.passages import Passage, copy_books, show_to_readers

LYING = ["vectors", "number", "local dimensionality", "distance of the nearest", "of the tenth"]
FOUND = [
    "owner has", "passages", "recall@10", "recall@100", "p50 ms", "p99 ms", "CPU ms", "words alone: p50 ms",
    "all vectors: ms",
]  # fmt: skip
COSTS = ["what", "figure"]
SHARES = {"1 book": 0.0, "0.1 %": 0.001, "1 %": 0.01, "5 %": 0.05, "20 %": 0.2, "50 %": 0.5}

_CHAPTERS, _CHUNKS = 5, 20
_SEEDS, _QUERIES = 3_000, 60
_SETTINGS = {**THROWAWAY, "shared_buffers": "2GB", "max_wal_size": "4GB"}
_BOOKS_AT_ONCE = 100

# The reference: what an owner's nearest are, and how long it takes without an index.
SELECT_NEAREST_OF_ALL = """
    SELECT 1 - (k.chunk_embedding <=> %(vector)s) AS similarity FROM books b
    JOIN recent_chapters r ON r.book_id = b.book_id AND r.version = b.current_version
    JOIN chapter_chunks k USING (chapter_id) WHERE b.owner_uid = %(owner)s ORDER BY 1 DESC LIMIT %(limit)s
"""
SELECT_SIZES = """
    SELECT sum(pg_total_relation_size(t)) FILTER (WHERE t IN ('searched_chapters', 'searched_passages'))::float AS searched,
           sum(pg_total_relation_size(t))::float AS every_table
    FROM unnest(ARRAY['searched_chapters', 'searched_passages', 'chapter_chunks']::regclass[]) t
"""

Row = list[Any]


# Their processes.
SELECT_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"


@dataclass(frozen=True, kw_only=True)
class Query:
    text: str
    vector: Vector


def search(files: Sequence[Path], passages: int) -> Iterator[tuple[str, list[str], list[Row]]]:
    """Tables: title, head, rows. A million passages take half an hour, 10 GB below TMPDIR and 4 GB of memory."""
    texts = _texts(files)
    seeds, queries = _embedded(texts)
    made = np.concatenate(list(multiply(seeds, passages, np.random.default_rng(1))))
    sample = made[np.random.default_rng(2).choice(passages, min(len(seeds), passages), replace=False)]
    rows = [[name, len(v), *lying(v)] for name, v in (("real", seeds), ("multiplied", sample))]
    yield "How the vectors lie", LYING, rows
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        with Postgres(Path(folder) / "data", settings=_SETTINGS) as server:
            migrate(server.dsn, MIGRATIONS)
            owners, costs = _fill(server.dsn, texts, made)
            yield f"What search finds among {passages:,} passages", FOUND, _measure(server.dsn, owners, queries, made)
            yield "What its index costs", COSTS, costs


def _texts(files: Sequence[Path]) -> list[str]:
    """Passages, shuffled, no two alike."""
    books = [f.read_bytes().decode() for f in files] or [m.text for m in manuscripts()]
    chapters = (book[s.start : s.end] for book in books for s in split_chapters(book).chapters)
    found = sorted({chunk.text for chapter in chapters for chunk in split_chunks(chapter)})
    random.Random(1).shuffle(found)
    return found[:_SEEDS]


def _embedded(texts: Sequence[str]) -> tuple[Vectors, list[Query]]:
    """The vectors of the passages, and queries: some words out of a passage each."""
    rng, embedder = random.Random(2), LocalEmbedder()
    asked = []
    for words in (rng.choice(texts).split() for _ in range(_QUERIES)):
        first = rng.randrange(max(1, len(words) - 20))
        asked.append(" ".join(words[first : first + rng.randrange(4, 20)]))
    seeds = np.array(embedder.embed(texts, EmbeddingTask.DOCUMENT), np.float32)
    vectors = embedder.embed(asked, EmbeddingTask.QUERY)
    return seeds, [Query(text=t, vector=v) for t, v in zip(asked, vectors, strict=True)]


def _fill(dsn: str, texts: Sequence[str], made: Vectors) -> tuple[list[str], list[Row]]:
    """The owner of each book, and what the books cost."""
    books = len(made) // (_CHAPTERS * _CHUNKS)
    owners = [name for name, share in SHARES.items() for _ in range(max(1, round(share * books)))]
    owners = (owners + [f"other {n}" for n in range(books)])[:books]
    random.Random(3).shuffle(owners)
    began = time.monotonic()
    found = copy_books(dsn, owners, _passages(texts, made), LocalEmbedder().model.key, _CHAPTERS, _CHUNKS)
    copied = time.monotonic()
    for first in range(0, books, _BOOKS_AT_ONCE):
        show_to_readers(dsn, found[first : first + _BOOKS_AT_ONCE])
    shown = time.monotonic()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        searched, every = connection.execute(SELECT_SIZES).fetchone() or (0, 0)
    return owners, [
        ["into the index, ms a passage", 1000 * (shown - copied) / len(made)],
        ["the passages themselves, with their words, ms each", 1000 * (copied - began) / len(made)],
        ["size of the index, MB", searched / 1e6],
        ["size of the passages themselves, MB", (every - searched) / 1e6],
    ]


def _passages(texts: Sequence[str], made: Vectors) -> Iterator[Passage]:
    """Half of one text and half of another each, so that there are many."""
    rng = random.Random(4)
    for vector in made:
        one, other = rng.choice(texts), rng.choice(texts)
        yield Passage(text=one[: len(one) // 2] + other[len(other) // 2 :], vector=vector.tolist())


def _measure(dsn: str, owners: Sequence[str], queries: Sequence[Query], made: Vectors) -> list[Row]:
    with closing(Database(dsn)) as database:
        return [_row(database, name, owners, queries, made) for name in SHARES]


def _row(database: Database, name: str, owners: Sequence[str], queries: Sequence[Query], made: Vectors) -> Row:
    mine = np.repeat(np.array([o == name for o in owners]), _CHAPTERS * _CHUNKS)
    vectors = made[: len(mine)][mine]
    index, key = PostgresSearchIndex(database), LocalEmbedder().model.key
    of_ten = of_hundred = 0.0
    for query in queries:  # and all that is read is in memory from then on
        found = index.candidates(name, None, query.text, {key: query.vector}, CANDIDATES)
        similarities = [c.similarity for c in found if c.similarity is not None]
        true = np.sort(vectors @ np.array(query.vector, np.float32))[::-1]
        of_ten += _recall(similarities, true, 10) / len(queries)
        of_hundred += _recall(similarities, true, CANDIDATES) / len(queries)
    began = _cpu(database)
    both = [_seconds(index, name, query, {key: query.vector}) for query in queries]
    spent = (_cpu(database) - began) / len(queries)
    words = [_seconds(index, name, query, {}) for query in queries]
    times = (*np.quantile(both, [0.5, 0.99]), spent, np.median(words), _exactly(database, name, queries[:3]))
    return [name, len(vectors), f"{of_ten:.3f}", f"{of_hundred:.3f}", *(round(1000 * t) for t in times)]


def _cpu(database: Database) -> float:
    """Seconds of this process and of the sessions that it has."""
    with database.statements() as connection:
        sessions = [psutil.Process(row["pid"]) for row in connection.execute(SELECT_SESSIONS)]
    return sum(sum(p.cpu_times()[:2]) for p in (psutil.Process(), *sessions))


def _recall(similarities: Sequence[float], true: Vectors, count: int) -> float:
    last = float(true[:count][-1]) - 1e-5
    return min(1.0, sum(s > last for s in similarities) / len(true[:count]))


def _seconds(index: PostgresSearchIndex, owner: str, query: Query, vectors: dict[Any, Vector]) -> float:
    began = time.monotonic()
    index.models(owner, None)
    index.candidates(owner, None, query.text, vectors, CANDIDATES)
    return time.monotonic() - began


def _exactly(database: Database, owner: str, queries: Sequence[Query]) -> float:
    times = []
    for query in queries:
        began = time.monotonic()
        with database.statements() as connection:
            where = {"owner": owner, "vector": to_column(query.vector), "limit": CANDIDATES}
            connection.execute(SELECT_NEAREST_OF_ALL, where, prepare=False).fetchall()
        times.append(time.monotonic() - began)
    return float(np.median(times))
