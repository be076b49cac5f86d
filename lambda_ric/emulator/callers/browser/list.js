// The invocations, newest first: one line each, and one of them unfolded, which is the selected or the newest one.

import { build, update } from "./card.js";
import { $, button, count, make, set, short, write } from "./dom.js";
import { known } from "./feed.js";
import { STATES, stateOf, textOf } from "./invocation.js";

export let selected = null; // a key
const cards = new Map(); // by key
let current = null; // the key of the one that is unfolded: the selected, or the newest one
let unfoldsAll = false;
const flipped = new Set(); // keys of those that were folded or unfolded by hand
let shownState = "all";
let place = null; // of the selected one in the window, before others came above it
let wanted = null; // the trace of the event that was sent, until its invocation is there
let told = null; // the callbacks of the page

const shownKeys = () => [...$("list").children].filter((each) => !each.hidden).map((each) => each.dataset.key);

export const shownInvocations = () => shownKeys().map((key) => known.invocations.get(key));

export function start(callbacks) {
  told = callbacks;
  for (const state of Object.keys(STATES)) {
    const choice = button("", () => { shownState = state; told.drawn(); });
    choice.dataset.state = state;
    choice.append(STATES[state], " ", make("b"));
    $("states").append(choice);
  }
  $("find").addEventListener("input", told.drawn);
  $("unfold").addEventListener("click", () => {
    unfoldsAll = !unfoldsAll;
    set($("unfold"), "aria-pressed", unfoldsAll);
    write($("unfold"), unfoldsAll ? "Fold all" : "Unfold all");
    flipped.clear();
    told.drawn();
  });
}

export function clear() {
  for (const card of cards.values()) card.article.remove();
  cards.clear();
  select(null);
}

export function show(it) {
  let card = cards.get(it.key);
  if (!card) {
    card = build(it.key, { toggle: () => flip(it.key), chosen: (how) => choose(it.key, how), actions: told.actions });
    cards.set(it.key, card);
    place ??= placeOfSelected();
    const isNotNewer = (article) => known.invocations.get(article.dataset.key).times.requested <= it.times.requested;
    $("list").insertBefore(card.article, [...$("list").children].find(isNotNewer) ?? null);
  }
  card.dirty = true;
  if (wanted !== null && it.trace_id.startsWith(wanted)) {
    wanted = null;
    reveal(it.key);
  }
}

export function forget(key) {
  cards.get(key)?.article.remove();
  cards.delete(key);
  if (key === selected) select(null);
}

// What was sent is selected as soon as it is there, whatever the filter says.
export function expect(trace) {
  wanted = trace;
}

export function reveal(key) {
  const it = known.invocations.get(key);
  if (!matches(it)) clearFilter();
  select(key, { focus: false });
  told.revealed();
}

export function select(key, { focus = true } = {}) {
  wanted = null; // one looks at something else now
  if (key !== selected) {
    selected = key;
    flipped.delete(key);
    told.selected();
    draw();
  }
  const card = cards.get(key);
  if (!card) return;
  if (focus) card.article.focus({ preventScroll: true });
  card.article.scrollIntoView({ block: "nearest" });
}

export const fold = () => flip(current);

function flip(key) {
  if (!flipped.delete(key)) flipped.add(key);
  told.drawn();
}

// A press on the line of the selected one folds it.
function choose(key, { onLine, byKeyboard }) {
  if (key !== selected) select(key, { focus: !byKeyboard && onLine });
  else if (onLine) flip(key);
}

export function move(by) {
  const keys = shownKeys();
  if (!keys.length) return;
  const at = keys.indexOf(selected);
  select(keys[at < 0 && Number.isFinite(by) ? 0 : Math.min(Math.max(at + by, 0), keys.length - 1)]);
}

function clearFilter() {
  $("find").value = "";
  shownState = "all";
  told.drawn();
}

function matches(it) {
  const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  if (shownState !== "all" && stateOf(it) !== shownState) return false;
  if (!words.length) return true;
  const text = textOf(it);
  return words.every((word) => text.includes(word));
}

// Drawing them.

export const isGoing = () => [...known.invocations.values()].some((it) => it.stage !== "ended");

export function draw() {
  place ??= placeOfSelected();
  const counts = { all: 0, going: 0, success: 0, failed: 0 };
  for (const article of $("list").children) {
    const it = known.invocations.get(article.dataset.key);
    counts.all += 1;
    counts[stateOf(it)] += 1;
    article.hidden = !matches(it);
  }
  const shown = shownKeys();
  const before = current;
  current = shown.includes(selected) ? selected : (shown[0] ?? null);
  if (before !== current) flipped.delete(before);
  shown.forEach((key, index) => drawCard(key, index, shown.length));
  drawFilter(counts, shown.length);
  if (place !== null && cards.has(selected)) $("scroller").scrollTop = cards.get(selected).article.offsetTop - place;
  place = null;
}

function drawCard(key, index, length) {
  const card = cards.get(key);
  const { article, chevron } = card;
  const it = known.invocations.get(key);
  const isOpen = (unfoldsAll || key === current) !== flipped.has(key);
  if (card.dirty || isOpen !== card.isOpen) update(card, it, isOpen);
  set(chevron, "aria-label", `${isOpen ? "Fold" : "Unfold"} ${short(it.request_id)}`);
  set(chevron, "aria-expanded", isOpen);
  set(article, "aria-current", key === selected);
  set(article, "aria-posinset", index + 1);
  set(article, "aria-setsize", length);
  reachable(article, key === current);
}

// By Tab only the current one is on the way; the others are a key away.
function reachable(article, isFirst) {
  const index = isFirst ? 0 : -1;
  if (article.tabIndex === index && article.dataset.stops === article.querySelectorAll("button, pre").length.toString()) return;
  article.tabIndex = index;
  const stops = article.querySelectorAll("button, pre");
  for (const stop of stops) stop.tabIndex = index;
  article.dataset.stops = stops.length;
}

// What is selected stays where it is, as long as one looks at it.
function placeOfSelected() {
  if (!cards.has(selected)) return null;
  const top = cards.get(selected).article.offsetTop - $("scroller").scrollTop;
  return top >= 0 && top < $("scroller").clientHeight ? top : null;
}

function drawFilter(counts, shown) {
  for (const choice of $("states").children) {
    write(choice.lastChild, count(counts[choice.dataset.state]));
    set(choice, "aria-pressed", choice.dataset.state === shownState);
  }
  const nothing = known.hello === null ? "" : counts.all === 0 ? emptyText() : shown === 0 ? "No invocation matches the filter." : "";
  if ($("empty").dataset.text !== nothing) {
    $("empty").dataset.text = nothing;
    $("empty").replaceChildren(nothing);
    if (counts.all) $("empty").append(" ", button("Show all", () => { clearFilter(); $("find").focus(); }));
  }
  $("empty").hidden = !nothing;
  $("download").disabled = shown === 0;
  const gone = known.forgotten;
  $("gone").hidden = !gone;
  write($("gone"), gone ? `${count(gone)} older ${gone === 1 ? "invocation is" : "invocations are"} gone: the page keeps the last ${known.hello.keep.invocations}.` : "");
}

function emptyText() {
  return `No invocation yet. Send an event with the form, open ${location.origin}/ in a browser, or call it with boto3.client("lambda", endpoint_url="${location.origin}").`;
}
