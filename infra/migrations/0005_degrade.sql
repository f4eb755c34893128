-- A chapter without metadata is complete for readers, and says what it lacks: the model refuses its text (blocked), or
-- its job failed for good (failed). NULL while its metadata is under way, and where it has it.
-- recent_chapters.metadata_model without metadata names the model that refused.
ALTER TABLE processing_status
    ADD COLUMN lacks_metadata text CHECK (lacks_metadata IN ('blocked', 'failed'));

-- What fan-in counts at every commit, as chapters_failed.
CREATE INDEX chapters_lacking_metadata ON processing_status (book_id, version) WHERE lacks_metadata IS NOT NULL;

-- What failed for good before, and is not under way again. A chapter that has its vectors did not fail.
UPDATE processing_status s SET lacks_metadata = 'failed' FROM recent_chapters c
WHERE s.entity_type = 'chapter' AND s.status = 'failed' AND c.chapter_id = s.entity_id AND c.metadata IS NULL
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.job_id = 'chapter-' || c.chapter_id
                  AND j.state IN ('pending', 'processing', 'retrying', 'cancelled'));
UPDATE processing_status s SET status = 'completed', phase = 'completed', progress = 100, error = NULL,
    revision = nextval('revisions')
FROM recent_chapters c
WHERE s.lacks_metadata IS NOT NULL AND c.chapter_id = s.entity_id AND c.embedding_timestamp IS NOT NULL;
