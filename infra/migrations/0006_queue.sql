-- Where a book stands that waits for its turn. NULL once it was given it.
ALTER TABLE processing_status ADD COLUMN IF NOT EXISTS queue_position integer;
