// Starts the page: what is told by the feed goes to its parts, what is done in one part goes to the others.

import * as banner from "./banner.js";
import { $, button, news } from "./dom.js";
import * as examples from "./examples.js";
import { connect, isAway, known } from "./feed.js";
import * as form from "./form.js";
import { newsOf } from "./invocation.js";
import * as layout from "./layout.js";
import * as list from "./list.js";
import * as logs from "./logs.js";
import { asCurl, asHAR, asJSON, download } from "./share.js";

// Drawing, once for all that has changed since the last frame.

let isAsked = false;

function drawn() {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => {
    isAsked = false;
    list.draw();
    banner.draw();
    logs.draw();
  });
}

const pace = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 100;
setInterval(() => { if (!isAway() && list.isGoing()) drawn(); }, pace);

// The feed.

function begin(restarted) {
  const { hello } = known;
  if (restarted) list.clear();
  logs.clear();
  banner.begin();
  const facts = [hello.runtime, `timeout ${hello.timeout} s`, `${hello.memory} MB`, `concurrency ${hello.concurrency}`, `lambda-ric ${hello.version}`];
  $("function").textContent = hello.function;
  $("facts").textContent = facts.join(" · ");
  document.title = hello.function;
}

function status(look, text) {
  $("connection").className = `connection ${look}`;
  if ($("connection").textContent !== text) $("connection").textContent = text;
}

function invocation(it, before) {
  list.show(it);
  if (known.live && it.stage === "ended" && before?.stage !== "ended") news(newsOf(it));
}

// What can be done with an invocation. Some of it needs the whole event, of which the page may have the beginning only.

function say(element, text) {
  if (!element || element.dataset.says) return;
  element.dataset.says = element.textContent;
  element.textContent = text;
  news(text);
  setTimeout(() => {
    element.textContent = element.dataset.says;
    delete element.dataset.says;
  }, 1500);
}

const ACTIONS = {
  edit: ["Edit and send again", "whole", (it) => { layout.show("send"); form.edit(it.event.text); }],
  curl: ["Copy as curl", "whole", async (it, element) => {
    try {
      await navigator.clipboard.writeText(asCurl(it));
      say(element, "Copied");
    } catch {
      say(element, "The browser does not allow it");
    }
  }],
  save: ["Save as example…", "whole", (it) => examples.ask(it.event.text)],
  json: ["JSON", "any", (it) => download(`${known.hello.function}-${it.request_id}.json`, "application/json", asJSON([it], logs.linesOf))],
  har: ["HAR", "any", (it) => download(`${known.hello.function}-${it.request_id}.har`, "application/json", asHAR([it]))],
};

function act(name, key) {
  const it = known.invocations.get(key);
  if (!it) return;
  const [, needs, does] = ACTIONS[name];
  const element = document.querySelector(`article[data-key="${key}"] [data-action="${name}"]`);
  if (needs === "whole" && it.event.truncated) say(element, "The event is too large for the page");
  else does(it, element);
}

function actions(key) {
  return Object.entries(ACTIONS).map(([name, [text]]) => {
    const element = button(text, () => act(name, key));
    element.dataset.action = name;
    if (name === "json" || name === "har") element.setAttribute("aria-label", `Download as ${text}`);
    return element;
  });
}

$("download").addEventListener("click", () => {
  const shown = list.shownInvocations().length;
  $("downloading-what").textContent = `${shown} ${shown === 1 ? "invocation" : "invocations"}: those that the filter shows.`;
  $("downloading").returnValue = "";
  $("downloading").showModal();
});
$("downloading").addEventListener("close", () => {
  const kind = $("downloading").returnValue;
  const shown = list.shownInvocations();
  if (kind === "json") download(`${known.hello.function}.json`, "application/json", asJSON(shown, logs.linesOf));
  if (kind === "har") download(`${known.hello.function}.har`, "application/json", asHAR(shown));
});

// The keyboard.

const KEYS = {
  j: () => list.move(1), ArrowDown: () => list.move(1), k: () => list.move(-1), ArrowUp: () => list.move(-1),
  Home: () => list.move(-Infinity), End: () => list.move(Infinity), Enter: () => list.fold(), Escape: () => list.select(null),
  f: () => $("find").focus(), e: () => { layout.show("send"); $("event").focus(); }, "/": () => { layout.show("logs"); $("search").focus(); },
  r: () => act("edit", list.selected), c: () => act("curl", list.selected), l: () => logs.toggle(),
  "?": () => $("shortcuts").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.closest("form") === $("form")) {
    event.preventDefault();
    form.send();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.closest("input, textarea, select");
  if (typing && event.key === "Escape") typing.blur();
  const scrolls = event.key.length > 1 && event.target.closest("pre, .lines, .separator");
  const presses = event.key === "Enter" && event.target.closest("button, a, summary");
  if (typing || scrolls || presses || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});

$("help").addEventListener("click", () => $("shortcuts").showModal());
for (const tab of ["send", "logs"]) document.querySelector(`.skips a[href="#${tab}"]`).addEventListener("click", () => layout.show(tab));

layout.start();
list.start({ drawn, actions, selected: logs.follow, revealed: () => layout.show("logs") });
logs.start();
banner.start({ drawn, chosen: (key) => { list.reveal(key); list.select(key); } });
form.start({ sent: list.expect });
connect({ begin, status, invocation, drawn, line: logs.add, forgotten: list.forget, live: logs.returnToPlace });
