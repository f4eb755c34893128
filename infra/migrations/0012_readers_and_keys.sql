-- Users who may read and search a book, and listen to it, beside its owner.
ALTER TABLE books ADD COLUMN readers text[] NOT NULL DEFAULT '{}';

-- Keys of machines. What a key is checked by is the SHA-256 of a secret that is not kept: 256 random bits, which no
-- dictionary has.
CREATE TABLE api_keys (
    key_id       uuid PRIMARY KEY,
    name         text NOT NULL,
    owner_uid    text,                                    -- for whom it acts; NULL: for whom each request names
    scopes       text[] NOT NULL,                         -- read, write, admin
    digest       bytea NOT NULL,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz,                             -- to the minute
    revoked_at   timestamptz
);
CREATE INDEX keys_by_creator ON api_keys (created_by, created_at DESC);
