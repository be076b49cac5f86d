// What a record of the feed says, in the words and the rows of the page. Nothing here draws.

import { ms } from "./dom.js";
import { known, now } from "./feed.js";

const BAD_STATES = ["failed", "cancelled", "abandoned", "dropped", "unfinished", "killed"];

// Where the runtime gave no reason of its own.
const REASONS = {
  cancelled: "it was stopped before it had ended",
  abandoned: "it was still at work when its time was up",
  dropped: "there was no time left to start it",
  unfinished: "it did not ask for its next event",
  killed: "the environment was reset",
};

export const isBad = (state) => BAD_STATES.includes(state);
// Behind these somebody waits; every other one is a queue or a stream that sends an event again.
const CALLERS = ["invoke", "stream", "function-url"];
export const hasCaller = (it) => CALLERS.includes(it.source);

export function statusOf(it) {
  if (it.stage === "waiting" || it.stage === "init") return it.stage;
  if (it.outcome === null) return it.stage === "ended" ? "cut short" : "running";
  if (it.outcome !== "success") return it.outcome;
  if (it.stage !== "ended") return "in the background";
  const bad = badSpansOf(it).length;
  return bad ? `answered, ${bad} failed` : "success";
}

export const STATES = { all: "All", going: "Running", success: "Succeeded", failed: "Failed" };

export function stateOf(it) {
  if (it.outcome !== null && it.outcome !== "success") return "failed";
  if (it.stage !== "ended") return "going";
  return it.outcome === null || badSpansOf(it).length ? "failed" : "success";
}

function badSpansOf(it) {
  return it.spans.filter((span) => isBad(span.state) && span.kind !== "handler");
}

export function reasonOfSpan(span) {
  return span.reason || REASONS[span.state] || "";
}

function failureOf(it) {
  if (it.outcome === null || it.outcome === "success") return "";
  const message = it.failure.message.replace(/^RequestId: \S+ Error: /, "");
  const when = it.times.answered !== null && !it.function_error ? ", after the response" : "";
  return `${it.failure.type}: ${message}${when}`;
}

// Why it failed: a text, a time, and an id that stays the same, each.
export function problemsOf(it) {
  const found = [];
  const failure = failureOf(it);
  const ended = it.times.ended ?? it.times.answered ?? it.times.requested;
  if (failure) found.push({ id: `${it.key} failure`, time: ended, text: failure });
  if (it.outcome === null && it.stage === "ended") found.push({ id: `${it.key} cut`, time: ended, text: "The emulator was closed before it was answered" });
  for (const span of badSpansOf(it)) {
    const reason = reasonOfSpan(span);
    const text = `${span.kind} ${span.name} ${span.state}${reason ? `: ${reason}` : ""}`;
    found.push({ id: `${it.key} ${span.kind} ${span.name} ${span.start}`, time: span.end ?? span.start, text });
  }
  return found;
}

// An event that was throttled comes again; a caller does not.
export const isLost = (note) => note.kind === "dropped" || (note.kind === "throttle" && (note.source === null || hasCaller(note)));
export const wordsOf = (note) => (note.kind === "throttle" ? `throttled: ${note.text}` : note.text);

export function waitedOf(it) {
  return it.times.answered === null ? null : it.times.answered - it.times.requested;
}

export function backgroundOf(it) {
  const { answered, ended } = it.times;
  if (answered === null) return null;
  const after = (ended ?? now()) - answered;
  return ended === null || after >= 1 || it.spans.some(isAfter) ? after : null;
}

const isAfter = (span) => span.kind !== "handler" && span.kind !== "extension";

const texts = new WeakMap(); // of a record, which never changes: a change is another record

// All that the filter searches.
export function textOf(it) {
  if (!texts.has(it)) texts.set(it, searchable(it));
  return texts.get(it);
}

function searchable(it) {
  const parts = [it.request_id, it.source, statusOf(it), it.event.text, it.response?.text ?? ""];
  for (const span of it.spans) parts.push(`${span.kind} ${span.name} ${span.state}`);
  for (const problem of problemsOf(it)) parts.push(problem.text);
  return parts.join("\n").toLowerCase();
}

export function newsOf(it) {
  const figures = waitedOf(it) === null ? [] : [`${hasCaller(it) ? "caller waited" : "answered after"} ${ms(waitedOf(it))}`];
  if (backgroundOf(it) !== null) figures.push(`background ${ms(backgroundOf(it))}`);
  return [`Invocation ${statusOf(it)}`, figures.join(", "), ...problemsOf(it).map((problem) => problem.text)].join(". ");
}

// The rows of the timeline. A row has its place and its name from the moment when it is there.

export function rowsOf(it) {
  const { times, stage, spans } = it;
  const begun = times.started !== null;
  const last = times.ended ?? now();
  const rows = [];
  const bar = (kind, name, colour, from, to, state = "", reason = "") =>
    rows.push({ kind, name, colour, from, to: to ?? last, state: to === null && !state ? "running" : state, going: to === null, reason });
  const between = (time) => Math.min(Math.max(time, times.started), Math.max(last, times.started));
  const spanned = (span) => {
    const colour = span.kind === "handler" || span.kind === "extension" ? span.kind : "background";
    bar(span.kind, span.name, colour, between(span.start), span.end === null ? null : between(span.end), span.state, reasonOfSpan(span));
  };

  const ready = times.init_started ?? times.started;
  if (ready === null || ready - times.requested >= 5) bar("", "waiting", "waiting", times.requested, ready);
  if (times.init_started !== null) bar("", "init", "init", times.init_started, times.init_ended);
  if (!begun) return rows;

  const told = spans.find((span) => span.kind === "handler");
  const others = spans.filter((span) => span.kind !== "handler").sort((a, b) => a.start - b.start);
  const isBefore = (span) => isAfter(span) && span.end !== null && span.end <= (told?.start ?? times.answered ?? -Infinity);
  others.filter(isBefore).forEach(spanned);
  const answered = times.answered ?? times.ended;
  if (told) spanned({ ...told, name: told.name || known.hello.handler });
  else bar("handler", known.hello.handler, "handler", times.started, answered, handlerStateOf(it, answered));
  if (it.streamed && times.first_byte !== null) rows.push({ kind: "", name: "first byte", mark: "hollow", from: times.first_byte });
  if (times.answered !== null) rows.push({ kind: "", name: it.function_error ? "error delivered" : "response delivered", mark: "full", from: times.answered });
  // Extensions are told of at the end, and whenever they began they do not push in.
  const isExtension = (span) => span.kind === "extension";
  others.filter((span) => !isBefore(span) && !isExtension(span)).forEach(spanned);
  if (times.answered !== null && !others.some(isAfter) && last - times.answered >= 10) {
    bar("", "after the response", "background", times.answered, stage === "ended" ? last : null);
  }
  others.filter(isExtension).forEach(spanned);
  const more = Object.entries(it.more_spans);
  if (more.length) rows.push({ kind: "", name: `and ${more.map(([state, number]) => `${number} ${state}`).join(", ")}`, from: times.started, wide: true });
  rows.push({ kind: "environment", name: String(it.environment || ""), life: true, from: times.started, to: last });
  return rows;
}

// Of a handler that nobody told of: another runtime than ours, one that was killed, or one still at it.
function handlerStateOf(it, answered) {
  if (answered === null) return "";
  return it.function_error || it.times.answered === null ? "failed" : "succeeded";
}

export function lifeOf(it) {
  const before = [...known.invocations.values()]
    .filter((other) => other.environment === it.environment && other.times.started !== null && other.times.started < it.times.started)
    .sort((a, b) => b.times.started - a.times.started)[0];
  const began = before && before.times.frozen !== null && it.times.init_started === null ? "thawed" : "";
  if (it.reset) return { began, ended: "✗ reset", bad: true };
  return { began, ended: it.times.frozen !== null ? "frozen" : "", bad: false };
}

// The phases of the small bar in a folded row.
export function phasesOf(it) {
  const { times } = it;
  const last = times.ended ?? now();
  const ready = times.init_started ?? times.started ?? last;
  const phases = [["waiting", times.requested, ready]];
  if (times.init_started !== null) phases.push(["init", times.init_started, times.init_ended ?? last]);
  if (times.started !== null) phases.push(["handler", times.started, times.answered ?? last]);
  if (times.answered !== null && times.answered < last) phases.push(["background", times.answered, last]);
  return phases;
}
