-- Deletion and retention at size: a vector belongs to a book and goes with it, and an index finds whatever is due.

-- What was computed of each book's texts. Books that share vectors have a copy each.
CREATE TABLE book_vectors (
    book_id           uuid NOT NULL REFERENCES books ON DELETE CASCADE,
    content_hash      bytea NOT NULL,                     -- SHA-256 of the text
    embedding_model   text NOT NULL,
    embedding_version text NOT NULL,
    task              text NOT NULL,
    owner_uid         text NOT NULL,                      -- the book's
    embedding         vector(768) NOT NULL,
    created_at        timestamptz NOT NULL,               -- when it was computed, for this book or another
    unused_since      timestamptz,                        -- NULL while a chunk of the book has it
    PRIMARY KEY (book_id, content_hash, embedding_model, embedding_version, task)
);
CREATE INDEX vectors_by_text ON book_vectors (content_hash, owner_uid);
CREATE INDEX vectors_unused ON book_vectors (unused_since) WHERE unused_since IS NOT NULL;
INSERT INTO book_vectors (book_id, content_hash, embedding_model, embedding_version, task, owner_uid, embedding,
                          created_at)
SELECT b.book_id, e.content_hash, e.embedding_model, e.embedding_version, e.task, b.owner_uid, e.embedding, e.created_at
FROM chapter_chunks k JOIN recent_chapters r USING (chapter_id) JOIN books b USING (book_id)
JOIN embedding_cache e ON e.content_hash = sha256(convert_to(k.chunk_text, 'UTF8'))
    AND e.embedding_model = k.embedding_model AND e.embedding_version = k.embedding_version
ON CONFLICT DO NOTHING;
-- Functions of the version before may still write here for a while: the next release drops the table.
TRUNCATE embedding_cache;

-- When retention looks at a version next: an hour after a newer one took over, and a week after its import. NULL: of
-- the latest nothing is due, and of the one that readers see nothing until they see another.
ALTER TABLE book_versions ADD COLUMN retention_due timestamptz;
UPDATE book_versions v SET retention_due = now()
FROM books b WHERE b.book_id = v.book_id AND v.version < b.latest_version;
CREATE INDEX versions_due ON book_versions (retention_due) WHERE retention_due IS NOT NULL;
DELETE FROM processing_status s
WHERE s.entity_type = 'chapter' AND NOT EXISTS (SELECT 1 FROM recent_chapters r WHERE r.chapter_id = s.entity_id);

-- What goes by age. No index holds what has to stay among what may go, so that a run passes over nothing. (Jobs have
-- one: jobs_ended.)
CREATE INDEX answers_by_age ON answers (created_at);
CREATE INDEX keys_by_age ON idempotency_keys (created_at);
ALTER TABLE dead_letters ADD COLUMN resolved_at timestamptz;
CREATE INDEX letters_settled ON dead_letters (coalesce(resolved_at, last_seen))
    WHERE state = 'resolved' OR book_id IS NULL;
-- Else a version's deletion reads all keys.
CREATE INDEX keys_by_version ON idempotency_keys (book_id, version);

-- In the order in which live documents are written and deleted, so that a run reads no more than it does.
CREATE INDEX status_lagging ON processing_status (projected_revision, entity_id) WHERE projected_revision < revision;
DROP INDEX status_unprojected;
CREATE INDEX jobs_lagging ON jobs (projected_revision, job_id) WHERE projected_revision < revision;
DROP INDEX jobs_unprojected;
DROP INDEX obsolete_by_turn;
CREATE INDEX obsolete_by_turn ON obsolete_documents (buried_at NULLS FIRST, path);
-- A newer version's chapters have the documents of these.
UPDATE processing_status s SET projected_revision = revision
WHERE s.entity_type = 'chapter' AND projected_revision < revision
  AND s.version < (SELECT max(version) FROM recent_chapters r WHERE r.book_id = s.book_id);
