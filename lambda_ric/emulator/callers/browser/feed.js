// What is known, and from whom: the only writer of `known`.

export const known = {
  hello: null, // what function this is
  invocations: new Map(), // by key, in the order in which they were told
  notes: new Map(), // by number
  forgotten: 0, // invocations
  live: false, // whether what comes is news
};

let source = null;
let told = null; // the callbacks of the page
let offset = 0; // of the browser's clock from the emulator's
let stoppedAt = null; // when the emulator was last heard of, while it is away
let patience = 500;
let untold = new Set(); // keys that are known from before, until they are told again

export const now = () => (stoppedAt ?? Date.now()) - offset;
export const isAway = () => stoppedAt !== null;

export function connect(callbacks) {
  told = callbacks;
  open();
  // A browser has six connections for one host: a page that nobody looks at gives its own back.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source.close();
    else if (source.readyState === EventSource.CLOSED) open();
  });
}

function open() {
  known.live = false;
  source = new EventSource("/_/feed");
  source.onerror = wait;
  const on = (name, act) => source.addEventListener(name, (message) => { act(JSON.parse(message.data)); told.drawn(); });
  on("hello", begin);
  on("resync", () => { known.live = false; });
  on("invocation", learn);
  on("log", (record) => told.line(record));
  on("note", note);
  on("live", live);
}

function wait() {
  source.close();
  known.live = false;
  stoppedAt ??= Date.now();
  told.status("lost", "The emulator is away, trying again");
  setTimeout(() => source.readyState === EventSource.CLOSED && !document.hidden && open(), patience);
  patience = Math.min(patience * 1.5, 3000);
}

function begin(hello) {
  const restarted = known.hello !== null && known.hello.session !== hello.session;
  const wasAway = stoppedAt !== null;
  known.hello = hello;
  if (restarted) known.invocations.clear();
  untold = new Set(known.invocations.keys());
  known.notes.clear();
  known.forgotten = hello.forgotten.invocations;
  offset = Date.now() - hello.now;
  stoppedAt = null;
  patience = 500;
  told.begin(restarted);
  told.status("live", restarted ? "Live again: the emulator was restarted" : wasAway ? "Live again" : "Live");
}

function learn(it) {
  const before = known.invocations.get(it.key) ?? null;
  known.invocations.set(it.key, it);
  untold.delete(it.key);
  while (known.invocations.size > known.hello.keep.invocations) {
    const [oldest] = known.invocations.keys();
    if (!untold.has(oldest)) known.forgotten += 1; // else it is counted already
    forget(oldest);
  }
  told.invocation(it, before);
}

function forget(key) {
  untold.delete(key);
  known.invocations.delete(key);
  told.forgotten(key);
}

// All that was remembered has been told: what comes is news.
function live() {
  untold.forEach(forget);
  known.live = true;
  told.live();
}

function note(record) {
  known.notes.set(record.n, record);
  if (known.notes.size > known.hello.keep.notes) known.notes.delete(known.notes.keys().next().value);
  told.line(record);
}
