// One invocation in the list: its line, why it failed, and what unfolds below.

import { button, bytes, clock, count, make, ms, pretty, set, short, write } from "./dom.js";
import { known } from "./feed.js";
import { backgroundOf, hasCaller, problemsOf, stateOf, statusOf, waitedOf } from "./invocation.js";
import { drawPhases, drawTimeline } from "./timeline.js";

const REASONS_IN_A_LINE = 2;

// `does.toggle` folds and unfolds it, `does.chosen` is told of a press on it, `does.actions` makes its buttons.
export function build(key, does) {
  const card = { article: make("article"), head: make("div", "line"), dirty: true, isOpen: false, key, does };
  const { article, head } = card;
  article.dataset.key = key;
  article.tabIndex = -1;
  head.id = `invocation-${key}`;
  set(article, "aria-labelledby", head.id);
  card.chevron = button("", does.toggle, "chevron");
  for (const name of ["status", "id", "time", "source", "event", "phases", "waited", "after"]) {
    card[name] = make(name === "id" || name === "event" ? "code" : "span", name);
  }
  const words = make("span", "words"); // a line of their own where there is little room
  words.append(card.time, card.id, card.source, card.event);
  head.append(card.chevron, card.status, words, card.phases, card.waited, card.after);
  card.reasons = make("ul", "reasons");
  card.body = make("div", "body");
  article.append(head, card.reasons, card.body);
  article.addEventListener("click", (click) => {
    if (!click.target.closest("button")) does.chosen({ onLine: head.contains(click.target), byKeyboard: false });
  });
  // By the keyboard only: what is pressed with the mouse must not move before it is let go.
  article.addEventListener("focus", () => { if (article.matches(":focus-visible")) does.chosen({ onLine: false, byKeyboard: true }); });
  return card;
}

// The inside is built when it is first seen: of two hundred invocations most never are.
function buildBody(card) {
  const { key, does } = card;
  card.table = make("table", "waterfall");
  const timeline = make("div", "timeline");
  timeline.append(card.table);
  card.facts = make("p", "facts");
  card.payloads = make("div", "payloads");
  for (const name of ["request", "response"]) {
    const part = { section: make("section"), title: make("h3"), pre: make("pre") };
    part.pre.tabIndex = 0;
    part.title.id = `${name}-${key}`;
    set(part.pre, "aria-labelledby", part.title.id);
    part.section.append(part.title, part.pre);
    card.payloads.append(part.section);
    card[name] = part;
  }
  card.actions = make("div", "actions");
  card.actions.append(...does.actions(key));
  card.body.append(timeline, card.payloads, card.facts, card.actions);
}

export function update(card, it, isOpen) {
  card.isOpen = isOpen;
  card.dirty = it.stage !== "ended"; // what goes on grows
  const state = stateOf(it);
  card.article.className = state;
  write(card.status, statusOf(it));
  write(card.id, short(it.request_id));
  card.id.title = it.request_id;
  write(card.time, clock(it.times.requested));
  // Most come by Invoke: the room is for what tells them apart.
  const source = it.source === "invoke" ? "" : it.source;
  write(card.source, it.attempt > 1 ? `${source}, attempt ${it.attempt}` : source);
  card.source.hidden = !card.source.textContent;
  write(card.event, it.event.text.slice(0, 200));
  card.event.title = it.event.text.slice(0, 2000);
  drawPhases(card.phases, it);
  figure(card.waited, hasCaller(it) ? "caller waited" : "answered after", waitedOf(it));
  figure(card.after, "background", backgroundOf(it));
  drawReasons(card, it);
  card.body.hidden = !isOpen;
  if (isOpen) updateBody(card, it);
}

function figure(element, label, value) {
  const text = value === null ? "" : ms(value);
  if (element.dataset.value === text) return;
  element.dataset.value = text;
  element.title = label;
  element.replaceChildren(...(text ? [make("span", "label", `${label} `), make("b", "", text)] : []));
}

function drawReasons(card, it) {
  const texts = problemsOf(it).map((problem) => problem.text);
  const shown = card.isOpen ? texts : texts.slice(0, REASONS_IN_A_LINE);
  if (shown.length < texts.length) shown.push(`and ${texts.length - shown.length} more`);
  if (card.drawnReasons === shown.join("\n")) return;
  card.drawnReasons = shown.join("\n");
  card.reasons.replaceChildren(...shown.map((text) => make("li", "", text)));
}

function updateBody(card, it) {
  if (!card.table) buildBody(card);
  drawTimeline(card.table, it);
  payload(card.request, "Event", it.event);
  payload(card.response, it.streamed ? "Streamed response" : "Response", it.response, it.stage);
  const facts = [
    `Request ${it.request_id} by ${it.source}`, it.environment && `environment ${it.environment}`, it.attempt > 1 && `attempt ${it.attempt}`,
    it.billed_ms !== null && `billed ${ms(it.billed_ms)}`, it.max_memory_mb !== null && `${count(it.max_memory_mb)} MB used`,
  ];
  write(card.facts, facts.filter(Boolean).join(" · "));
}

function payload(part, title, preview, stage = "") {
  write(part.title, preview === null ? `${title}: ${stage === "ended" ? "none" : "none yet"}` : `${title}, ${bytes(preview.size)}`);
  part.pre.hidden = preview === null || preview.size === 0;
  if (preview === null) return;
  write(part.pre, preview.truncated ? `${preview.text}\n… (the page has the first ${bytes(known.hello.keep.preview)})` : pretty(preview.text));
}
