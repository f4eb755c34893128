-- Jobs wait for their turn as rows, and for models that stay away.

ALTER TABLE jobs
    ADD COLUMN owner_uid         text,                    -- whose turn it is
    ADD COLUMN imported_at       timestamptz,             -- of its version: the books of one owner go in this order
    ADD COLUMN ordinal           bigint,                  -- the jobs of one book go in this order
    ADD COLUMN permitted_at      timestamptz,             -- when it was given a permit; NULL while it holds none
    ADD COLUMN unavailable_since timestamptz;             -- since when its attempts find a service away
CREATE SEQUENCE job_ordinals OWNED BY jobs.ordinal;
ALTER TABLE jobs ALTER COLUMN ordinal SET DEFAULT nextval('job_ordinals');
UPDATE jobs j SET owner_uid = b.owner_uid, imported_at = v.created_at, ordinal = nextval('job_ordinals'),
    permitted_at = CASE WHEN j.state IN ('pending', 'processing', 'retrying') THEN j.published_at END
FROM books b JOIN book_versions v USING (book_id) WHERE b.book_id = j.book_id AND v.version = j.version;

-- Those that wait, in the order of each owner; and those that hold a permit, of which there are few.
CREATE INDEX jobs_waiting ON jobs (type, owner_uid, imported_at, ordinal)
    WHERE permitted_at IS NULL AND state IN ('pending', 'retrying');
CREATE INDEX jobs_permitted ON jobs (type, owner_uid) WHERE permitted_at IS NOT NULL;

-- Who was given a permit of a stage last: the next in the round comes after.
CREATE TABLE turns (
    type      text PRIMARY KEY,
    owner_uid text NOT NULL
);

-- What stages depend on, and whether it stays away.
CREATE TABLE dependencies (
    name      text PRIMARY KEY,
    failures  integer NOT NULL DEFAULT 0,                 -- since it last answered
    opened_at timestamptz,                                -- since when its stages are paused; NULL while they aren't
    retry_at  timestamptz,                                -- when it is asked again
    allowed   integer                                     -- how many may ask at once until it is trusted again
);

ALTER TABLE processing_status ADD COLUMN waiting_for text; -- the dependency for which a book waits

-- Whether readers are to see it though it lacks chapters that the version before has.
ALTER TABLE book_versions ADD COLUMN allow_partial boolean NOT NULL DEFAULT false;

-- Of a service that was away, not of the job: tried again without being asked.
ALTER TABLE dead_letters ADD COLUMN is_passing boolean NOT NULL DEFAULT false;
CREATE INDEX dead_letters_passing ON dead_letters (last_seen) WHERE is_passing AND state = 'open';

ALTER TABLE processing_status DROP CONSTRAINT processing_status_status_check;
ALTER TABLE processing_status ADD CONSTRAINT processing_status_status_check CHECK (status IN
    ('pending', 'processing', 'retrying', 'waiting', 'completed', 'failed', 'cancelled'));
