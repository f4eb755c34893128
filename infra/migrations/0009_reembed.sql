-- Books move to another embedding model: as new versions of the same text, built aside.

ALTER TABLE book_versions
    ADD COLUMN IF NOT EXISTS cause text NOT NULL DEFAULT 'import',   -- why there is this version: or 'reembed'
    ADD COLUMN IF NOT EXISTS embedding_model text,                   -- of which all its vectors are; NULL until it is
    ADD COLUMN IF NOT EXISTS embedding_version text;                 -- split, and of versions of before: chapters tell

-- Who asked for it, and of which books: all, one, or those of an owner. Kept when they are gone.
CREATE TABLE reembeddings (
    reembedding_id    uuid PRIMARY KEY,
    embedding_model   text NOT NULL,
    embedding_version text NOT NULL,
    book_id           uuid,
    owner_uid         text,
    requested_by      text NOT NULL,
    requested_at      timestamptz NOT NULL,
    stopped_at        timestamptz,
    finished_at       timestamptz
);
-- To ask again goes on with what was asked for before.
CREATE UNIQUE INDEX reembeddings_open ON reembeddings (embedding_model, embedding_version, book_id, owner_uid)
    NULLS NOT DISTINCT WHERE stopped_at IS NULL AND finished_at IS NULL;
