/**
 * Watches a book being made.
 *
 *     const stop = watchBook(fromEvents({ url, token }), bookId, ({ state, book }) => show(state, book?.progress));
 *
 * @typedef {"loading" | "live" | "offline" | "done" | "denied" | "deleted"} State
 * `loading` before anything is known; `live` while it is made; `offline` while the connection is lost; `done` when work
 * on it has ended (`book.status` says how), until a next version begins. After `denied` (there is no such book for this
 * user, or not any more) and `deleted` nothing more comes.
 *
 * @typedef {object} Seen A book as it was last heard of: the fields of its live documents, the chapters' by number.
 * @property {State} state
 * @property {Record<string, any> | null} book
 * @property {Record<string, any> | null} grid
 * @property {Record<number, Record<string, any>>} chapters
 *
 * @typedef {object} Teller What a source calls with what it hears.
 * @property {(path: string, fields: Record<string, any> | null) => void} document Null where it is no more.
 * @property {() => void} begin From now on, it tells of all chapters anew.
 * @property {(state: State) => void} state It lost or found the connection, or it ended.
 *
 * @typedef {(bookId: string, chapters: boolean, tell: Teller) => () => void} Source What it returns ends it.
 */

const DONE = ["completed", "failed", "cancelled"];

/** @type {Seen} */
export const LOADING = Object.freeze({ state: "loading", book: null, grid: null, chapters: {} });

/**
 * @param {Source} source `fromFirestore(…)` of firestore.js, or `fromEvents(…)` of events.js.
 * @param {string} bookId
 * @param {(seen: Seen) => void} onChange
 * @param {{ chapters?: boolean }} [options] With `chapters`, it hears of each chapter's document, too.
 * @returns {() => void} What ends it.
 */
export function watchBook(source, bookId, onChange, { chapters = false } = {}) {
  let seen = LOADING;
  let isOver = false;
  let isAnew = false;
  const show = (/** @type {Partial<Seen>} */ change) => {
    if (isOver) return;
    seen = { ...seen, ...change };
    isOver = seen.state === "denied" || seen.state === "deleted";
    onChange(seen);
  };
  const end = source(bookId, chapters, {
    document(path, fields) {
      const [, , kind, name] = path.split("/");
      if (kind === "chapters") {
        const { [Number(name)]: _, ...others } = isAnew ? {} : seen.chapters;
        isAnew = false;
        show({ chapters: fields ? { ...others, [Number(name)]: fields } : others });
      } else if (kind === "live") show({ grid: fields });
      else if (fields) show({ book: fields, state: stateOf(fields) });
    },
    begin() {
      isAnew = true;
    },
    state(state) {
      const known = state === "live" ? stateOf(seen.book) : state;
      if (known !== seen.state) show({ state: known });
    },
  });
  return () => {
    isOver = true;
    end();
  };
}

/** @param {Record<string, any> | null} book @returns {State} */
function stateOf(book) {
  if (!book) return "loading";
  return DONE.includes(book.status) ? "done" : "live";
}
