-- When this database was restored. Live documents of revisions before that are of no row any more, once all that have
-- one were written anew.
CREATE TABLE restores (
    first_revision bigint PRIMARY KEY,                    -- of the new epoch
    requested_by   text NOT NULL,
    restored_at    timestamptz NOT NULL,
    finished_at    timestamptz                            -- when the last of them was deleted
);
