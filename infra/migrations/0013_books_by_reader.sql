-- no transaction
-- Books go on being written meanwhile.
CREATE INDEX CONCURRENTLY IF NOT EXISTS books_by_reader ON books USING gin (readers) WHERE readers <> '{}';
