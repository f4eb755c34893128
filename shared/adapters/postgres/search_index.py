"""Search by meaning and words together. The statements filter by owner: a book of someone else's is not there.

By meaning it is exact for owners who have no more than `compared` passages: of others', so many are compared by their
vectors, those whose codes are the nearest. By words it is exact where no more than `ranked` passages have a word. What
more have ranks what other words and the meaning find, and finds something itself only where nothing else does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Connection, Database, to_column
from shared.adapters.postgres.vector_codes import code_dimensions, query_planes
from shared.domain.embeddings import ModelKey, Vector
from shared.domain.ranking import Candidate

# Of the nearest by meaning, so many are ranked by words too.
_NEAR = 500

# One look into the index for each model, however many chapters there are.
SELECT_MODELS_OF_OWNER = """
    WITH RECURSIVE found AS (
        (SELECT embedding_model, embedding_version FROM searched_chapters WHERE owner_uid = %(owner)s
         ORDER BY embedding_model, embedding_version LIMIT 1)
        UNION ALL
        SELECT next.* FROM found, LATERAL (
            SELECT embedding_model, embedding_version FROM searched_chapters s
            WHERE owner_uid = %(owner)s
              AND (s.embedding_model, s.embedding_version) > (found.embedding_model, found.embedding_version)
            ORDER BY embedding_model, embedding_version LIMIT 1) next
    )
    SELECT embedding_model AS name, embedding_version AS version FROM found
"""
SELECT_MODELS_OF_BOOK = """
    SELECT DISTINCT embedding_model AS name, embedding_version AS version FROM searched_chapters
    WHERE book_id = %(book_id)s AND owner_uid = %(owner)s
"""

# The nearest of one model: all codes are compared, then the vectors of the best.
SELECT_NEAREST_PASSAGES = """
    WITH best AS MATERIALIZED (
        SELECT book_id, chapter_id, number - 1 AS chunk_index
        FROM searched_chapters CROSS JOIN LATERAL unnest(codes) WITH ORDINALITY AS passage (code, number)
        WHERE owner_uid = %(owner)s AND (%(book_id)s::uuid IS NULL OR book_id = %(book_id)s)
          AND embedding_model = %(model)s AND embedding_version = %(version)s AND dimensions = %(dimensions)s
        ORDER BY 4 * (code <~> %(plane_4)s::varbit) + 2 * (code <~> %(plane_2)s::varbit)
                 + (code <~> %(plane_1)s::varbit)
        LIMIT %(compared)s
    )
    SELECT best.book_id, k.chapter_id, k.chunk_index,
           row_number() OVER (ORDER BY k.chunk_embedding <=> %(vector)s) AS place
    FROM best JOIN chapter_chunks k USING (chapter_id, chunk_index) ORDER BY place LIMIT %(near)s
"""

# The best by words among those, and among what less frequent words find; with all that is shown of both.
SELECT_CANDIDATES = r"""
    WITH lexemes AS MATERIALIZED (
        SELECT '''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''' AS quoted,
               coalesce(frequency * c.reltuples > %(ranked)s, false) AS is_frequent
        FROM unnest(to_tsvector('english', %(text)s)) JOIN pg_class c ON c.oid = 'searched_passages'::regclass
        LEFT JOIN (SELECT u.* FROM pg_stats s, unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) u
                   WHERE s.schemaname = current_schema() AND s.tablename = 'searched_passages' AND s.attname = 'terms')
            AS known (lexeme, frequency) USING (lexeme)
    ), query AS MATERIALIZED (
        SELECT string_agg(quoted, ' | ')::tsquery AS terms,
               coalesce(string_agg(quoted, ' | ') FILTER (WHERE NOT is_frequent),
                        CASE cardinality(%(chapters)s::uuid[]) WHEN 0 THEN string_agg(quoted, ' | ') END)::tsquery
                   AS finding
        FROM lexemes
    ), near AS MATERIALIZED (
        SELECT * FROM unnest(%(books)s::uuid[], %(chapters)s::uuid[], %(indexes)s::int[], %(is_nearest)s::boolean[])
            AS n (book_id, chapter_id, chunk_index, is_nearest)
    ), found AS (
        (SELECT p.chapter_id, p.chunk_index, p.terms FROM searched_passages p
         WHERE p.owner_uid = %(owner)s AND (%(book_id)s::uuid IS NULL OR p.book_id = %(book_id)s)
           AND p.terms @@ (SELECT finding FROM query) LIMIT %(ranked)s)
        UNION ALL
        -- LIMIT keeps the planner from reading all that have the words instead of looking each up.
        SELECT near.chapter_id, near.chunk_index, p.terms FROM near CROSS JOIN LATERAL (
            SELECT terms FROM searched_passages p WHERE p.book_id = near.book_id AND p.chapter_id = near.chapter_id
                AND p.chunk_index = near.chunk_index LIMIT 1) p
    ), by_words AS (
        SELECT DISTINCT chapter_id, chunk_index, ts_rank(terms, (SELECT terms FROM query)) AS text_rank FROM found
        ORDER BY text_rank DESC, chapter_id, chunk_index LIMIT %(limit)s
    ), asked AS (
        SELECT * FROM unnest(%(models)s::text[], %(versions)s::text[], %(vectors)s::vector[])
            AS a (model, model_version, vector)
    )
    SELECT r.book_id, v.title AS book_title, r.chapter_id, r.chapter_number, r.title AS chapter_title,
           k.chunk_index, k.chunk_text AS passage, r.start_offset + k.start_offset AS start_offset,
           r.start_offset + k.end_offset AS end_offset, k.embedding_model, k.embedding_version,
           1 - (k.chunk_embedding <=> asked.vector) AS similarity,
           coalesce(ts_rank(k.search_terms, query.terms), 0) AS text_rank
    FROM (SELECT chapter_id, chunk_index FROM near WHERE is_nearest 
          UNION SELECT chapter_id, chunk_index FROM by_words WHERE text_rank > 0) AS shown
    JOIN chapter_chunks k USING (chapter_id, chunk_index)
    JOIN recent_chapters r USING (chapter_id)
    JOIN book_versions v ON v.book_id = r.book_id AND v.version = r.version
    LEFT JOIN asked ON asked.model = k.embedding_model AND asked.model_version = k.embedding_version, query
"""


class PostgresSearchIndex:
    def __init__(self, database: Database, compared: int = 2_000, ranked: int = 5_000) -> None:
        self._database = database
        self._compared = compared
        self._ranked = ranked

    def models(self, owner_uid: str, book_id: UUID | None) -> list[ModelKey]:
        statement = SELECT_MODELS_OF_BOOK if book_id else SELECT_MODELS_OF_OWNER
        with self._database.statements() as connection:
            found = connection.execute(statement, {"owner": owner_uid, "book_id": book_id})
            return [ModelKey(**row) for row in found]

    def candidates(
        self, owner_uid: str, book_id: UUID | None, text: str, vectors: Mapping[ModelKey, Vector], limit: int
    ) -> list[Candidate]:
        where = {"owner": owner_uid, "book_id": book_id, "text": text, "limit": limit, "near": _NEAR}
        where |= {"compared": self._compared, "ranked": self._ranked}
        with self._database.statements() as connection:
            near = [row for key, vector in vectors.items() for row in _nearest(connection, where, key, vector)]
            where |= _columns(near, limit) | _asked(vectors)
            found = connection.execute(SELECT_CANDIDATES, where).fetchall()
        return [_candidate(row) for row in found]


def _nearest(connection: Connection, where: Mapping[str, Any], key: ModelKey, vector: Vector) -> list[dict[str, Any]]:
    plane_4, plane_2, plane_1 = query_planes(vector)
    asked = {"model": key.name, "version": key.version, "dimensions": code_dimensions(vector)}
    asked |= {"plane_4": plane_4, "plane_2": plane_2, "plane_1": plane_1, "vector": to_column(vector)}
    # Planned anew each time: what serves an owner of one book does not serve one who has half of all.
    return connection.execute(SELECT_NEAREST_PASSAGES, {**where, **asked}, prepare=False).fetchall()


def _columns(near: Sequence[Mapping[str, Any]], limit: int) -> dict[str, Any]:
    return {
        "books": [row["book_id"] for row in near],
        "chapters": [row["chapter_id"] for row in near],
        "indexes": [row["chunk_index"] for row in near],
        "is_nearest": [row["place"] <= limit for row in near],
    }


def _asked(vectors: Mapping[ModelKey, Vector]) -> dict[str, Any]:
    return {
        "models": [key.name for key in vectors],
        "versions": [key.version for key in vectors],
        "vectors": [to_column(vector) for vector in vectors.values()],
    }


def _candidate(row: dict[str, Any]) -> Candidate:
    model = ModelKey(name=row.pop("embedding_model"), version=row.pop("embedding_version"))
    return Candidate(**row, model=model)
