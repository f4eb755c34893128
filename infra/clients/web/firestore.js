import { collection, doc, onSnapshot, query, where } from "firebase/firestore";

const LONGEST_PAUSE = 15_000;

/**
 * Hears of books by Firestore listeners.
 *
 * @param {import("firebase/firestore").Firestore} db
 * @param {{ ownerUid?: string }} [options] The user who is signed in, if chapters of their own books are asked for: rules
 * are not filters. Without it, chapters of books that others share with them.
 * @returns {import("./watch-book.js").Source}
 */
export function fromFirestore(db, { ownerUid } = {}) {
  return (bookId, chapters, tell) => {
    const book = doc(db, "books", bookId);
    let wasThere = false;
    const own = ownerUid ? [where("owner_uid", "==", ownerUid)] : [];
    const ends = [
      listen(book, hearBook, end),
      listen(doc(book, "live", "grid"), (snapshot) => snapshot.exists() && tell.document(snapshot.ref.path, snapshot.data())),
    ];
    if (chapters) ends.push(listen(query(collection(book, "chapters"), ...own), hearChapters));

    function hearBook(snapshot) {
      if (snapshot.exists()) {
        wasThere = true;
        tell.document(book.path, snapshot.data());
      } else if (wasThere && !snapshot.metadata.fromCache) return end("deleted");
      tell.state(snapshot.metadata.fromCache ? (wasThere ? "offline" : "loading") : "live");
    }

    function hearChapters(snapshot) {
      for (const { type, doc } of snapshot.docChanges()) tell.document(doc.ref.path, type === "removed" ? null : doc.data());
    }

    function end(state) {
      tell.state(state);
      stop();
    }

    function stop() {
      for (const end of ends) end();
    }
    return stop;
  };
}

/** A listener, and others that take its place when it ends, until Firestore says that this user may not: `onDenied`. */
function listen(target, hear, onDenied = (_) => {}) {
  let failures = 0;
  let timer;
  let end = () => {};
  const start = () => {
    end = onSnapshot(target, { includeMetadataChanges: true }, (snapshot) => {
      if (!snapshot.metadata.fromCache) failures = 0;
      hear(snapshot);
    }, ({ code }) => {
      if (code === "permission-denied") return onDenied("denied");
      failures += 1;
      timer = setTimeout(start, Math.min(LONGEST_PAUSE, 250 * 2 ** failures) * (0.5 + Math.random() / 2));
    });
  };
  start();
  return () => {
    clearTimeout(timer);
    end();
  };
}
