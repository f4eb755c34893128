// An app around the example component. The test calls what it puts into `window`.
import { initializeApp } from "firebase/app";
import { connectFirestoreEmulator, getFirestore } from "firebase/firestore";
import { createRoot } from "react-dom/client";
import { fromEvents } from "bindery-client/events";
import { fromFirestore } from "bindery-client/firestore";
import { BookProgress } from "./book-progress.jsx";

const root = createRoot(document.body.appendChild(document.createElement("main")));

window.events = ({ url, uid }) => fromEvents({ url, token: () => uid });
window.firestore = ({ host, port, project, uid }) => {
  const db = getFirestore(initializeApp({ projectId: project }, uid));
  connectFirestoreEmulator(db, host, port, { mockUserToken: { sub: uid, user_id: uid } });
  return fromFirestore(db, { ownerUid: uid });
};
window.show = (source, bookId) => root.render(<BookProgress source={source} bookId={bookId} />);
