// The lines of the function, the platform and the emulator: of all invocations, or of the selected one.

import { $, clock, count, make, remember, remembered, short, write } from "./dom.js";
import { known } from "./feed.js";
import { isLost, wordsOf } from "./invocation.js";
import { select, selected } from "./list.js";

const KINDS = ["function", "platform", "note"];
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const ERROR = /^\s*\[(ERROR|CRITICAL)\]|"level": ?"(ERROR|CRITICAL|FATAL)"/;

let fresh = []; // records that have not been drawn
let follows = true; // the newest line, until one scrolls up
let place = null; // the number of the line that was read when the lines were told anew
let kept = 0; // lines, notes not counted
let isCut = false; // whether older ones are gone
let showsSelected = false;
let shapeWas = "";
const records = new WeakMap(); // by their elements

export function start() {
  const shown = remembered("kinds", KINDS);
  for (const kind of KINDS) {
    $(`show-${kind}`).checked = shown.includes(kind);
    $(`show-${kind}`).addEventListener("change", () => {
      remember("kinds", KINDS.filter((each) => $(`show-${each}`).checked));
      filter();
    });
  }
  $("search").addEventListener("input", filter);
  $("logs-all").addEventListener("click", () => show(false));
  $("logs-selected").addEventListener("click", () => show(true));
  $("to-the-end").addEventListener("click", toTheEnd);
  $("lines").addEventListener("scroll", () => {
    const { scrollHeight, scrollTop, clientHeight } = $("lines");
    if (shape() !== shapeWas) return; // nobody scrolls: the panel is resized
    follows = scrollHeight - scrollTop - clientHeight < 30;
    $("to-the-end").hidden = follows;
  });
  new ResizeObserver(() => {
    shapeWas = shape();
    if (follows) toTheEnd();
  }).observe($("lines"));
  $("lines").addEventListener("click", (click) => {
    const record = records.get(click.target.closest(".entry"));
    if (record?.key && known.invocations.has(record.key) && getSelection().isCollapsed) select(record.key, { focus: false });
  });
}

const shape = () => `${$("lines").clientWidth} ${$("lines").clientHeight}`;

export const add = (record) => fresh.push(record);

export function clear() {
  const { top } = $("lines").getBoundingClientRect();
  const read = [...$("lines").children].find((entry) => !entry.hidden && entry.getBoundingClientRect().bottom > top);
  place = follows || !read ? null : records.get(read).n;
  fresh = [];
  kept = 0;
  isCut = known.hello.forgotten.lines > 0;
  $("lines").replaceChildren();
}

// When the lines have been told again, one reads on where one was.
export function returnToPlace() {
  draw();
  const entry = [...$("lines").children].find((each) => records.get(each).n === place);
  if (!entry) return;
  follows = false;
  entry.scrollIntoView({ block: "start" });
}

// What is selected says whose lines are wanted; a click on the switch says otherwise.
export function follow() {
  show(selected !== null);
}

export const toggle = () => show(!showsSelected && selected !== null);

function show(ofSelected) {
  showsSelected = ofSelected;
  $("logs-all").setAttribute("aria-pressed", !ofSelected);
  $("logs-selected").setAttribute("aria-pressed", ofSelected);
  $("logs-selected").disabled = selected === null;
  const it = known.invocations.get(selected);
  write($("logs-selected"), it ? `Selected: ${short(it.request_id)}` : "Selected");
  filter();
}

export function linesOf(key) {
  draw();
  return [...$("lines").children].map((entry) => records.get(entry)).filter((record) => record.key === key);
}

function filter() {
  for (const entry of $("lines").children) entry.hidden = !isWanted(records.get(entry));
  explain();
  toTheEnd();
}

function toTheEnd() {
  follows = true;
  $("to-the-end").hidden = true;
  $("lines").scrollTop = $("lines").scrollHeight;
}

const kindOf = (record) => (record.kind ? "note" : record.platform ? "platform" : "function");

function isWanted(record) {
  const search = $("search").value.toLowerCase();
  return $(`show-${kindOf(record)}`).checked && (!showsSelected || record.key === selected) && (!search || wordsOf(record).toLowerCase().includes(search));
}

export function draw() {
  if (!fresh.length) { explain(); return; }
  const lines = $("lines");
  lines.append(...fresh.map(entryOf));
  kept += fresh.filter((record) => !record.kind).length;
  fresh = [];
  while (kept > known.hello.keep.lines) {
    if (!records.get(lines.firstElementChild).kind) kept -= 1;
    lines.firstElementChild.remove();
    isCut = true;
  }
  explain();
  if (follows) lines.scrollTop = lines.scrollHeight;
}

function entryOf(record) {
  const kind = kindOf(record);
  const look = kind === "note" ? (isLost(record) ? "note bad-line" : "note") : kind === "function" && ERROR.test(record.text) ? "function bad-line" : kind;
  const entry = make("div", `entry ${look}`);
  // Terminals' colours are noise here, and \r is how Lambda keeps the lines of one event together.
  const text = wordsOf(record).replace(/\x1b\[[\d;]*m/g, "").replace(/\r(?!$)/g, "\n").replace(/\t/g, "  ");
  const words = make("span");
  words.append(...withShortIds(text + (record.truncated ? "… (cut)" : ""), record));
  entry.append(make("time", "", clock(record.time)), words);
  records.set(entry, record);
  entry.hidden = !isWanted(record);
  return entry;
}

// An id takes half of a platform's line. The rest of it is there, for whoever copies it or asks for it, and takes no room.
// Other ids in a line of the function are its own, and stay.
function withShortIds(text, record) {
  const own = known.invocations.get(record.key)?.request_id;
  const parts = [];
  let end = 0;
  for (const { 0: id, index } of text.matchAll(UUID)) {
    if (kindOf(record) === "function" && id !== own) continue;
    const whole = make("abbr", "", short(id));
    whole.title = id;
    whole.append(make("span", "rest", id.slice(8)));
    parts.push(text.slice(end, index), whole);
    end = index + id.length;
  }
  return [...parts, text.slice(end)];
}

// Emptiness has its reason.
function explain() {
  const isEmpty = ![...$("lines").children].some((entry) => !entry.hidden);
  write($("logs-empty"), isEmpty ? reason() : "");
  $("logs-empty").hidden = !isEmpty;
  const it = showsSelected ? known.invocations.get(selected) : null;
  $("logs-cut").hidden = isEmpty || !(it ? isGone(it) : isCut);
  write($("logs-cut"), $("logs-cut").hidden ? "" : `Earlier lines are gone: the page keeps the last ${count(known.hello.keep.lines)}.`);
  $("lines").hidden = isEmpty;
}

function reason() {
  const it = showsSelected ? known.invocations.get(selected) : null;
  const theirs = [...$("lines").children].map((entry) => records.get(entry)).filter((record) => !it || record.key === it.key);
  if (!theirs.length) {
    if (it && isGone(it)) return `The lines of this invocation are gone: the page keeps the last ${count(known.hello.keep.lines)}.`;
    return it ? "This invocation has written nothing yet." : "No output yet: what the function prints appears here.";
  }
  const hidden = KINDS.filter((kind) => !$(`show-${kind}`).checked).map((kind) => (kind === "note" ? "emulator" : kind));
  const search = $("search").value;
  const which = it ? "of this invocation " : "";
  const notShown = hidden.length ? `lines of the ${hidden.join(" and the ")} are not shown` : "";
  if (!search) return `Nothing ${which}to see: ${notShown}.`;
  return `No line ${which}has “${search}”${notShown ? `; ${notShown}` : ""}.`;
}

function isGone(it) {
  const oldest = records.get($("lines").querySelector(".entry:not(.note)"));
  return isCut && it.times.started !== null && (!oldest || it.times.started <= oldest.time);
}
