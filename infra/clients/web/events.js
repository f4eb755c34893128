const SILENCE = 45_000; // the server says a word every 15 s
const LONGEST_PAUSE = 15_000;

/**
 * Hears of books by the API's server-sent events: for apps without a Firestore of their own.
 *
 * @param {{ url: string, token?: () => string | null | Promise<string | null> }} api `token` is asked for each stream,
 * since tokens expire: with Firebase, `() => auth.currentUser.getIdToken()`.
 * @returns {import("./watch-book.js").Source}
 */
export function fromEvents({ url, token = () => null }) {
  return (bookId, chapters, tell) => {
    const stopped = new AbortController();
    follow(`${url}/api/books/${encodeURIComponent(bookId)}/events?chapters=${chapters}`, token, tell, stopped.signal);
    return () => stopped.abort();
  };
}

/** Opens streams, one after the other, until one says that it is the last, or `stopped`. */
async function follow(address, token, tell, stopped) {
  const place = { lastId: "" };
  for (let failures = 0; !stopped.aborted; ) {
    let pause = 0;
    try {
      const reply = await open(address, await token(), place.lastId, stopped);
      if ([401, 403, 404].includes(reply.status)) return tell.state("denied");
      pause = 1000 * (Number(reply.headers.get("Retry-After")) || 0);
      if (reply.ok) {
        failures = 0;
        tell.begin();
        tell.state("live");
        const end = await read(reply.body, place, tell);
        if (end === "time") continue; // it was open for long enough
        if (end) return tell.state(end);
      }
    } catch {
      // As if it had broken off without a word.
    }
    tell.state("offline");
    failures += 1;
    pause = Math.max(pause, Math.min(LONGEST_PAUSE, 500 * 2 ** failures) * (0.5 + Math.random() / 2));
    await rest(pause, stopped);
  }
}

function open(address, token, lastId, stopped) {
  const headers = { Accept: "text/event-stream" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (lastId) headers["Last-Event-ID"] = lastId;
  return fetch(address, { headers, cache: "no-store", signal: stopped });
}

/** Tells what a stream says, and returns why it ended, or null if it broke off. */
async function read(body, place, tell) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let text = ""; ; ) {
      const { done, value } = await within(SILENCE, reader.read());
      if (done) return null;
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const { id, event, data } of events.map(parse)) {
        if (event === "document") tell.document(data.path, data.fields);
        if (event === "removed") tell.document(data.path, null);
        if (event === "end") return data.reason;
        if (id) place.lastId = id;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(event) {
  const lines = event.split("\n").map((line) => line.split(/: (.*)/s));
  const { data = "null", ...others } = Object.fromEntries(lines);
  return { ...others, data: JSON.parse(data) };
}

function within(milliseconds, promise) {
  let timer;
  const silence = new Promise((_, reject) => {
    timer = setTimeout(reject, milliseconds, new Error("silence"));
  });
  return Promise.race([promise, silence]).finally(() => clearTimeout(timer));
}

/** Not longer than until the machine is online again. */
function rest(milliseconds, stopped) {
  return new Promise((resolve) => {
    const timer = setTimeout(wake, milliseconds);
    const wakers = [[stopped, "abort"], [globalThis, "online"]];
    for (const [target, name] of wakers) target.addEventListener?.(name, wake);
    function wake() {
      clearTimeout(timer);
      for (const [target, name] of wakers) target.removeEventListener?.(name, wake);
      resolve();
    }
  });
}
