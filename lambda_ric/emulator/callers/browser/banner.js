// What failed or was lost, above everything, until it is dismissed: here, or in another tab, or before a reload.

import { $, clock, isNarrow, isShort, make, remember, remembered, set, short, write } from "./dom.js";
import { known } from "./feed.js";
import { isLost, problemsOf, wordsOf } from "./invocation.js";

let dismissed = new Set();
let showsAll = false;
let drawn = "";
let told = null; // the callbacks of the page

export function start(callbacks) {
  told = callbacks;
  $("dismiss").addEventListener("click", () => {
    for (const problem of problems()) dismissed.add(problem.id);
    keep();
    showsAll = false;
    told.drawn();
    $("invocations").focus();
  });
  $("more-problems").addEventListener("click", () => { showsAll = !showsAll; told.drawn(); });
  for (const media of [isNarrow, isShort]) media.addEventListener("change", told.drawn);
}

export function begin() {
  const kept = remembered("dismissed", { session: "", ids: [] });
  dismissed = new Set(kept.session === known.hello.session ? kept.ids : []);
  drawn = "";
}

// Of what the emulator still knows: the others never come back.
function keep() {
  const there = new Set(all().map((problem) => problem.id));
  remember("dismissed", { session: known.hello.session, ids: [...dismissed].filter((id) => there.has(id)) });
}

function all() {
  const found = [];
  for (const [key, it] of known.invocations) {
    for (const problem of problemsOf(it)) found.push({ ...problem, key, request: it.request_id });
  }
  for (const note of known.notes.values()) {
    if (isLost(note)) found.push({ id: `note ${note.n}`, key: note.key, time: note.time, text: wordsOf(note), request: "" });
  }
  return found;
}

const problems = () => all().filter((problem) => !dismissed.has(problem.id)).sort((a, b) => b.time - a.time);

export function draw() {
  const found = problems();
  const few = isShort.matches ? 0 : isNarrow.matches ? 1 : 3;
  const signature = JSON.stringify([found, showsAll, few]);
  if (signature === drawn) return;
  drawn = signature;
  const shown = showsAll ? found : found.slice(0, few);
  const more = found.length - few;
  $("problems").hidden = found.length === 0;
  write($("problem-count"), String(found.length));
  $("more-problems").hidden = more <= 0;
  write($("more-problems"), showsAll ? "Show fewer" : few ? `and ${more} more` : "Show");
  set($("more-problems"), "aria-expanded", showsAll);
  document.title = `${found.length ? `(${found.length}) ` : ""}${known.hello ? known.hello.function : "lambda-ric dev"}`;
  const focused = document.activeElement?.dataset?.problem;
  $("problem-list").replaceChildren(...shown.map(row));
  if (focused) [...$("problem-list").querySelectorAll("button")].find((each) => each.dataset.problem === focused)?.focus();
}

function row(problem) {
  const line = make("button");
  line.type = "button";
  line.dataset.problem = problem.id;
  line.append(make("code", "", clock(problem.time)), make("b", "", problem.text), make("code", "", problem.request && short(problem.request)));
  line.disabled = !known.invocations.has(problem.key);
  line.addEventListener("click", () => told.chosen(problem.key));
  const item = make("li");
  item.append(line);
  return item;
}
