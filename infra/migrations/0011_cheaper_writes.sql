-- A book's passages are written to the search by a trigger of its own row, so nothing needs to look for that row again,
-- passage by passage: they go with the book by a trigger, too. No query of any release relies on the constraint.
-- squawk-ignore ban-drop-constraint
ALTER TABLE searched_passages DROP CONSTRAINT searched_passages_book_id_fkey;

CREATE FUNCTION hide_book_from_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM searched_passages WHERE book_id = OLD.book_id;
    RETURN NULL;
END $$;

CREATE TRIGGER search_forgets_books AFTER DELETE ON books FOR EACH ROW EXECUTE FUNCTION hide_book_from_search();

-- To compress a manuscript takes longer than all else that its import writes, and saves little beside its vectors.
ALTER TABLE book_versions ALTER COLUMN content SET STORAGE EXTERNAL;
ALTER TABLE recent_chapters ALTER COLUMN content SET STORAGE EXTERNAL;

-- To compress lexemes saved no room, and took a sixth of the time that a passage's row takes.
ALTER TABLE chapter_chunks ALTER COLUMN search_terms SET STORAGE EXTERNAL;
ALTER TABLE searched_passages ALTER COLUMN terms SET STORAGE EXTERNAL;
