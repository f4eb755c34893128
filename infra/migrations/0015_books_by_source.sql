-- no transaction
-- One book for each of an owner's names, also of two that import at once; and for who asks by name.
DROP INDEX CONCURRENTLY IF EXISTS books_by_source;
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS books_by_source ON books (owner_uid, source_id);
