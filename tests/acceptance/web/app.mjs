// What an app has before the README's snippet: a Firestore client, and functions that show things. Arguments: host, port,
// project, uid and book. Each call of a function is a line of JSON.
import { initializeApp } from "firebase/app";
import { connectFirestoreEmulator, getFirestore } from "firebase/firestore";

const [host, port, projectId, uid, bookId] = process.argv.slice(2);
const db = getFirestore(initializeApp({ projectId }));
const say = (what) => (...told) => console.log(JSON.stringify([what, ...told]));
const showBook = say("book");
const showGrid = say("grid");
const showChapter = say("chapter");
const showError = ({ code }) => say("error")(code);
const show = say("seen");
