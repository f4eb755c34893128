-- Recovery: what is needed to trust the pipeline blindly, and to mend what failed.

ALTER TABLE jobs
    ADD COLUMN abandoned integer NOT NULL DEFAULT 0,      -- leases that ran out: their process died
    ADD COLUMN failures  jsonb   NOT NULL DEFAULT '[]';   -- of each failed attempt: attempt, at, error_class, message
ALTER TABLE jobs ADD COLUMN projected_revision bigint NOT NULL DEFAULT 0;
-- What is there already has been shown.
UPDATE jobs SET projected_revision = revision;
UPDATE processing_status SET projected_revision = revision WHERE entity_type = 'chapter';
CREATE INDEX jobs_unprojected ON jobs (job_id) WHERE projected_revision < revision;
CREATE INDEX jobs_of_note ON jobs (book_id, version, state) WHERE state IN ('processing', 'retrying', 'cancelled');
CREATE INDEX jobs_ended ON jobs (type, state, finished_on) WHERE state IN ('completed', 'failed', 'cancelled');

-- What fan-in counts at every commit, without reading all of a book's chapters.
CREATE INDEX chapters_without_metadata ON recent_chapters (book_id, version) WHERE metadata IS NULL;
CREATE INDEX chapters_without_vector ON recent_chapters (book_id, version) WHERE embedding_timestamp IS NULL;
CREATE INDEX chapters_failed ON processing_status (book_id, version)
    WHERE entity_type = 'chapter' AND status = 'failed';

-- One dead letter for each job: a job that fails again brings its letter up to date.
DELETE FROM dead_letters older USING dead_letters newer
WHERE older.job_id = newer.job_id AND older.dead_letter_id < newer.dead_letter_id;
ALTER TABLE dead_letters RENAME COLUMN created_at TO last_seen;
ALTER TABLE dead_letters
    ADD COLUMN version    integer,
    ADD COLUMN failures   jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN first_seen timestamptz,
    ADD COLUMN times      integer NOT NULL DEFAULT 1,     -- how often the job died
    ADD COLUMN state      text NOT NULL DEFAULT 'open'
               CHECK (state IN ('open', 'redriven', 'resolved', 'discarded'));
UPDATE dead_letters SET first_seen = last_seen,
    version = CASE WHEN payload->>'version' ~ '^[0-9]{1,9}$' THEN (payload->>'version')::integer END;
ALTER TABLE dead_letters ALTER COLUMN first_seen SET NOT NULL;
DROP INDEX dead_letters_by_job;
CREATE UNIQUE INDEX dead_letters_by_job ON dead_letters (job_id);
CREATE INDEX dead_letters_by_fingerprint ON dead_letters (fingerprint, state);

-- Who did what about a dead letter, when, and what came of it.
CREATE TABLE dead_letter_actions (
    action_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dead_letter_id bigint NOT NULL REFERENCES dead_letters ON DELETE CASCADE,
    batch_id       uuid NOT NULL,
    action         text NOT NULL CHECK (action IN ('redrive', 'discard')),
    requested_by   text NOT NULL,
    requested_at   timestamptz NOT NULL,
    reason         text,
    per_minute     integer,
    is_canary      boolean NOT NULL DEFAULT false,
    not_before     timestamptz,                           -- NULL: held until the canary succeeds
    outcome        text NOT NULL
                   CHECK (outcome IN ('held', 'waiting', 'sent', 'succeeded', 'failed', 'dropped', 'done')),
    finished_at    timestamptz
);
CREATE INDEX actions_by_letter ON dead_letter_actions (dead_letter_id);
-- Two who redrive the same letter at once do it once.
CREATE UNIQUE INDEX actions_under_way ON dead_letter_actions (dead_letter_id) WHERE outcome IN ('held', 'waiting');
CREATE INDEX actions_waiting ON dead_letter_actions (not_before) WHERE outcome = 'waiting';
CREATE INDEX actions_by_batch ON dead_letter_actions (batch_id) WHERE outcome = 'held';

-- What a generating model answered, so that neither a crash nor a replay asks it again.
CREATE TABLE answers (
    book_id    uuid NOT NULL REFERENCES books ON DELETE CASCADE,
    question   bytea NOT NULL,                            -- SHA-256 of what it was asked
    model      text NOT NULL,
    answer     jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (book_id, question, model)
);

-- Live documents that must not be there. They are deleted again for a while: an attempt that was under way may
-- have written one late.
CREATE TABLE obsolete_documents (
    path     text PRIMARY KEY,
    book_id  uuid NOT NULL,
    revision bigint NOT NULL,                             -- of two writings, the one with the higher is the newer
    since    timestamptz NOT NULL,
    buried_at timestamptz                                 -- when the document was last deleted
);
CREATE INDEX obsolete_by_turn ON obsolete_documents (buried_at NULLS FIRST);
CREATE INDEX obsolete_by_book ON obsolete_documents (book_id);

-- Every delivery of a job's message, for a replay's receipt; kept for some days.
CREATE TABLE deliveries (
    job_id text NOT NULL,
    type   text NOT NULL,
    at     timestamptz NOT NULL,
    state  text NOT NULL
);
CREATE INDEX deliveries_by_type ON deliveries (type, at);
CREATE INDEX deliveries_by_job ON deliveries (job_id);
CREATE INDEX deliveries_by_age ON deliveries (at);
CREATE INDEX cache_by_age ON embedding_cache (created_at);

CREATE TABLE replays (
    replay_id         uuid PRIMARY KEY,
    topic             text NOT NULL,
    source            jsonb NOT NULL,
    requested_by      text NOT NULL,
    at                timestamptz NOT NULL,
    first_transaction xid NOT NULL,
    first_revision    bigint NOT NULL,
    jobs              text[] NOT NULL                     -- those that had ended by then
);
