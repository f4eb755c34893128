import { useEffect, useState } from "react";
import { LOADING, watchBook } from "./watch-book.js";

/**
 * A React hook: the book as it is now, shown anew at each change.
 *
 *     const { state, book } = useBook(source, bookId);
 *
 * @param {import("./watch-book.js").Source} source One that stays: made outside of the component.
 * @param {string | null | undefined} bookId Without one, it is `loading`.
 * @param {{ chapters?: boolean }} [options]
 * @returns {import("./watch-book.js").Seen}
 */
export function useBook(source, bookId, { chapters = false } = {}) {
  const [seen, show] = useState({ bookId, ...LOADING });
  useEffect(() => {
    if (bookId) return watchBook(source, bookId, (now) => show({ bookId, ...now }), { chapters });
  }, [source, bookId, chapters]);
  return seen.bookId === bookId ? seen : LOADING; // never another book's
}
