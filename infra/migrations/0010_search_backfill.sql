-- no transaction
-- Books of before; then nothing needs the indexes that held the passages of all versions and owners together. Functions
-- of the release before find without them too, though slower.
CALL show_all_books_to_search();
DROP INDEX CONCURRENTLY IF EXISTS chunks_by_meaning;
DROP INDEX CONCURRENTLY IF EXISTS chunks_by_terms;
