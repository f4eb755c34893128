-- What the owner calls the manuscript that a book is made of: the same name again is the same book.
ALTER TABLE books ADD COLUMN source_id text;
