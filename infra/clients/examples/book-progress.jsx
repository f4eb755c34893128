import { useBook } from "bindery-client/react";

const SAID = {
  loading: "…",
  offline: "The connection is lost; this is how far the book was.",
  denied: "There is no such book, or it is not yours.",
  deleted: "The book was deleted.",
};

/** A book's progress bar. `source` is `fromFirestore(db)` or `fromEvents({ url, token })`, made once for the app. */
export function BookProgress({ source, bookId }) {
  const { state, book } = useBook(source, bookId);
  return (
    <section aria-busy={state === "live"}>
      {book && (
        <>
          <h1>{book.title}</h1>
          <progress max="100" value={book.progress} />
          <p>{state === "done" ? book.status : `${book.chapters.embedded} of ${book.chapters.total} chapters`}</p>
          {book.error && <p role="alert">{book.error.message}</p>}
        </>
      )}
      {SAID[state] && <output>{SAID[state]}</output>}
    </section>
  );
}
