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
