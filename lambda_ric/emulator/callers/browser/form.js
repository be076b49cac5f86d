// Sends an event, and shows what came back.

import { $, make, ms, pretty, remember, remembered } from "./dom.js";
import { readStream } from "./event_stream.js";
import * as examples from "./examples.js";
import { known } from "./feed.js";

let told = null; // the callbacks of the page

export function start(callbacks) {
  told = callbacks;
  $("form").addEventListener("submit", (submit) => { submit.preventDefault(); send(); });
  $("event").value = remembered("event", "{}");
  $("type").value = remembered("type", "RequestResponse");
  $("event").addEventListener("input", check);
  $("type").addEventListener("change", () => remember("type", $("type").value));
  $("format").addEventListener("click", () => { if (check()) fill(pretty($("event").value)); });
  examples.start(fill);
}

export function edit(text) {
  fill(pretty(text));
  $("event").focus();
}

function fill(text) {
  $("event").value = text;
  check();
}

function check() {
  let text = "";
  try {
    JSON.parse($("event").value);
  } catch (error) {
    text = `Not JSON: ${error.message}`;
  }
  remember("event", $("event").value);
  $("event-error").textContent = text;
  $("event-error").hidden = !text;
  $("event").setAttribute("aria-invalid", Boolean(text));
  return !text;
}

const hex = (length) => [...crypto.getRandomValues(new Uint8Array(length))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

export async function send() {
  if (!check()) { $("event").focus(); return; }
  if (!known.hello || $("submit").disabled) return;
  const type = $("type").value;
  const streams = type === "stream";
  // By its trace the invocation is known before it has been answered.
  const root = `Root=1-${Math.floor(Date.now() / 1000).toString(16).padStart(8, "0")}-${hex(12)}`;
  const headers = { "Content-Type": "application/json", "X-Amzn-Trace-Id": `${root};Parent=${hex(8)};Sampled=0` };
  if (!streams) headers["X-Amz-Invocation-Type"] = type;
  const begun = performance.now();
  $("submit").disabled = true;
  told.sent(root);
  answer([["", "Sending…"]], "");
  try {
    const { endpoints } = known.hello;
    const reply = await fetch(streams ? endpoints.stream : endpoints.invoke, { method: "POST", headers, body: $("event").value });
    const parts = [["", `HTTP ${reply.status}`]];
    let error = reply.headers.get("X-Amz-Function-Error");
    let body = "";
    if (streams && reply.ok) {
      const stream = await readStream(reply.body, (text) => answer(parts, text));
      body = stream.text;
      error = stream.error;
      parts.push(["", `${stream.chunks} ${stream.chunks === 1 ? "chunk" : "chunks"}`]);
      if (stream.chunks) parts.push(["", `first after ${ms(stream.first - begun)}`]);
    } else body = await reply.text();
    if (type === "Event" && reply.status === 202) parts.push(["", "queued"]);
    if (error) parts.push(["bad-text", `Function error: ${error}`]);
    else if (!reply.ok) parts.push(["bad-text", reply.headers.get("X-Amzn-ErrorType") ?? "refused"]);
    parts.push(["", ms(performance.now() - begun)]);
    answer(parts, pretty(body));
  } catch (error) {
    answer([["bad-text", "No answer"], ["", error.message]], "");
  } finally {
    $("submit").disabled = false;
  }
}

function answer(parts, body) {
  $("response").hidden = false;
  $("response-line").replaceChildren(...parts.map(([look, text]) => make("span", look, text)));
  $("response-body").textContent = body;
  $("response-body").hidden = !body;
}
