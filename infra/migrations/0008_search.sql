-- What search reads, apart from the rest: the passages of the versions that readers see, and no others. It follows
-- books.current_version as an index would, whichever release sets that.

-- Owners and words in one index.
CREATE EXTENSION IF NOT EXISTS btree_gin;

-- By meaning: short codes of the vectors, those of a chapter in one row, so that all of an owner's are read in a moment.
CREATE TABLE searched_chapters (
    book_id           uuid NOT NULL REFERENCES books ON DELETE CASCADE,
    chapter_id        uuid NOT NULL,
    owner_uid         text NOT NULL,                      -- the book's
    embedding_model   text NOT NULL,
    embedding_version text NOT NULL,
    dimensions        smallint NOT NULL,                  -- that the codes are made of
    codes             bit varying[] NOT NULL,             -- of the chapter's chunks, in their order
    PRIMARY KEY (book_id, chapter_id)
) WITH (toast_tuple_target = 8160);                       -- rows of a page are read several times as fast as others
ALTER TABLE searched_chapters ALTER COLUMN codes SET STORAGE EXTERNAL;
CREATE INDEX chapters_by_model ON searched_chapters (owner_uid, embedding_model, embedding_version);

-- By words.
CREATE TABLE searched_passages (
    book_id     uuid NOT NULL REFERENCES books ON DELETE CASCADE,
    chapter_id  uuid NOT NULL,
    chunk_index integer NOT NULL,
    owner_uid   text NOT NULL,                            -- the book's
    terms       tsvector NOT NULL,
    PRIMARY KEY (book_id, chapter_id, chunk_index)
);
CREATE INDEX passages_by_terms ON searched_passages USING gin (owner_uid, book_id, terms);

-- Four levels of each number, as three bits: above -t, above 0, above t. Their sum is the level, so that what the query
-- weighs each number by, it weighs three bits by. The levels suit vectors of unit length.
CREATE FUNCTION code_of_vector(embedding vector, dimensions smallint) RETURNS bit varying
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE dimensions
        WHEN 384 THEN binary_quantize(subvector(embedding, 1, 384) + array_fill(0.05::real, ARRAY[384])::vector)
            || binary_quantize(subvector(embedding, 1, 384))
            || binary_quantize(subvector(embedding, 1, 384) - array_fill(0.05::real, ARRAY[384])::vector)
        ELSE binary_quantize(embedding + array_fill(0.035::real, ARRAY[768])::vector)
            || binary_quantize(embedding)
            || binary_quantize(embedding - array_fill(0.035::real, ARRAY[768])::vector)
        END;

-- The column pads vectors that have fewer dimensions than it with zeros: most often, these need not be read.
CREATE FUNCTION dimensions_of_code(embedding vector) RETURNS smallint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN vector_norm(subvector(embedding, 385, 384)) = 0 THEN 384 ELSE 768 END;

CREATE FUNCTION show_current_version_to_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM searched_chapters WHERE book_id = NEW.book_id;
    DELETE FROM searched_passages WHERE book_id = NEW.book_id;
    INSERT INTO searched_chapters (book_id, chapter_id, owner_uid, embedding_model, embedding_version, dimensions, codes)
    SELECT NEW.book_id, r.chapter_id, NEW.owner_uid, d.embedding_model, d.embedding_version, d.dimensions,
           (SELECT array_agg(code_of_vector(k.chunk_embedding, d.dimensions) ORDER BY k.chunk_index)
            FROM chapter_chunks k WHERE k.chapter_id = r.chapter_id)
    FROM recent_chapters r CROSS JOIN LATERAL (
        SELECT k.embedding_model, k.embedding_version, max(dimensions_of_code(k.chunk_embedding)) AS dimensions
        FROM chapter_chunks k WHERE k.chapter_id = r.chapter_id GROUP BY 1, 2) d
    WHERE r.book_id = NEW.book_id AND r.version = NEW.current_version;
    INSERT INTO searched_passages (book_id, chapter_id, chunk_index, owner_uid, terms)
    SELECT NEW.book_id, k.chapter_id, k.chunk_index, NEW.owner_uid, k.search_terms
    FROM recent_chapters r JOIN chapter_chunks k USING (chapter_id)
    WHERE r.book_id = NEW.book_id AND r.version = NEW.current_version;
    RETURN NULL;
END $$;

-- Also when a version is completed again, since some of its chapters were made anew.
CREATE TRIGGER search_follows_readers AFTER UPDATE OF current_version ON books
    FOR EACH ROW EXECUTE FUNCTION show_current_version_to_search();

-- For books of before, and to make all anew: one after the other, so that work on none of them waits for the others.
CREATE PROCEDURE show_all_books_to_search() LANGUAGE plpgsql AS $$
DECLARE
    last uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
    LOOP
        UPDATE books SET current_version = current_version
        WHERE book_id = (SELECT book_id FROM books WHERE book_id > last AND current_version IS NOT NULL
                         ORDER BY book_id LIMIT 1)
        RETURNING book_id INTO last;
        EXIT WHEN NOT FOUND;
        COMMIT;
    END LOOP;
END $$;
