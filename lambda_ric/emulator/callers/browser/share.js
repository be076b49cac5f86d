// An invocation for others: as a curl command, as JSON with its logs, as HAR.

import { make } from "./dom.js";
import { known } from "./feed.js";
import { hasCaller, statusOf, waitedOf } from "./invocation.js";

export function download(name, type, text) {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name.replace(/[^\w.-]+/g, "-");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const asJSON = (invocations, linesOf) =>
  JSON.stringify({ function: known.hello.function, invocations: invocations.map((it) => ({ ...it, logs: linesOf(it.key) })) }, null, 2);

// A POSIX shell takes whatever stands in single quotes as it is. A terminal does not: what is pasted could end the paste,
// and go on as a command of its own, by a control character.
function quoted(text) {
  const inQuotes = (words) => `'${words.replaceAll("'", "'\\''")}'`;
  if (!CONTROL.test(text)) return inQuotes(text);
  const octal = (character) => [...new TextEncoder().encode(character)].map((byte) => `\\0${byte.toString(8).padStart(3, "0")}`).join("");
  return `"$(printf '%b' ${inQuotes(text.replaceAll("\\", "\\\\").replace(new RegExp(CONTROL, "g"), octal))})"`;
}

const CONTROL = /[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]/;

export function asCurl(it) {
  const { method, url, headers, body } = requestOf(it);
  const parts = [`curl -g ${it.source === "stream" ? "-N --output - " : ""}-X ${quoted(method)} ${quoted(url)}`];
  for (const [name, value] of headers) parts.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (body) parts.push(`--data-raw ${quoted(body)}`);
  return parts.join(" \\\n  ");
}

// What brings the event to the function once more: the call of a URL as it was, else an Invoke.
function requestOf(it) {
  const http = it.source === "function-url" ? httpRequestOf(it.event.text) : null;
  if (http) return http;
  const headers = [["Content-Type", "application/json"]];
  if (it.source !== "stream" && !hasCaller(it)) headers.push(["X-Amz-Invocation-Type", "Event"]);
  const path = it.source === "stream" ? known.hello.endpoints.stream : known.hello.endpoints.invoke;
  return { method: "POST", url: location.origin + path, headers, body: it.event.text };
}

// The client adds these itself, or they name this very connection.
const OWN_HEADERS = /^(host|content-length|connection|accept-encoding|transfer-encoding|x-forwarded-.*|x-amzn-.*)$/;

function httpRequestOf(text) {
  try {
    const event = JSON.parse(text);
    if (event.isBase64Encoded && event.body) return null;
    const headers = Object.entries(event.headers).filter(([name]) => !OWN_HEADERS.test(name));
    if (event.cookies?.length) headers.push(["cookie", event.cookies.join("; ")]);
    const query = event.rawQueryString ? `?${event.rawQueryString}` : "";
    return { method: event.requestContext.http.method, url: location.origin + event.rawPath + query, headers, body: event.body ?? "" };
  } catch {
    return null;
  }
}

// http://www.softwareishard.com/blog/har-12-spec/
export function asHAR(invocations) {
  const creator = { name: "lambda-ric", version: known.hello.version };
  return JSON.stringify({ log: { version: "1.2", creator, entries: invocations.map(entryOf) } }, null, 2);
}

function entryOf(it) {
  const { method, url, headers, body } = requestOf(it);
  const { status, statusText, answered, content } = responseOf(it);
  const named = (pairs) => pairs.map(([name, value]) => ({ name, value: String(value) }));
  const type = headers.find(([name]) => name.toLowerCase() === "content-type")?.[1] ?? "";
  const common = { httpVersion: "HTTP/1.1", cookies: [], headersSize: -1 };
  return {
    startedDateTime: new Date(it.times.requested).toISOString(),
    time: waitedOf(it) ?? 0,
    request: {
      ...common, method, url, headers: named(headers), queryString: named([...new URL(url).searchParams]),
      ...(body ? { postData: { mimeType: type, text: body } } : {}), bodySize: new Blob([body]).size,
    },
    response: { ...common, status, statusText, headers: named(answered), content, redirectURL: "", bodySize: content.size },
    cache: {},
    timings: timingsOf(it.times),
    comment: statusOf(it),
    _lambda: it,
  };
}

function timingsOf({ requested, started, first_byte: first, answered }) {
  const wait = started === null ? 0 : (first ?? answered ?? started) - started;
  const receive = first === null || answered === null ? 0 : answered - first;
  return { blocked: started === null ? -1 : started - requested, dns: -1, connect: -1, send: 0, wait, receive };
}

// What the caller got: of a URL what the function's document says, else the answer of the Invoke API.
function responseOf(it) {
  if (it.response === null) return { status: 0, statusText: "", answered: [], content: { size: 0, mimeType: "" } };
  const answered = [["Content-Type", it.content_type ?? ""], ["X-Amzn-RequestId", it.request_id]];
  if (it.function_error) answered.push(["X-Amz-Function-Error", it.function_error]);
  const content = { size: it.response.size, mimeType: it.content_type ?? "", text: it.response.text };
  return (it.source === "function-url" && httpResponseOf(it)) || { status: 200, statusText: "OK", answered, content };
}

function httpResponseOf(it) {
  if (it.function_error) return { status: 502, statusText: "Bad Gateway", answered: [], content: { size: 0, mimeType: "" } };
  try {
    const { statusCode, headers = {}, body = "", isBase64Encoded } = JSON.parse(it.response.text);
    if (!Number.isInteger(statusCode)) return null;
    const type = Object.entries(headers).find(([name]) => name.toLowerCase() === "content-type")?.[1] ?? "application/json";
    const content = { size: new Blob([body]).size, mimeType: type, text: body, ...(isBase64Encoded ? { encoding: "base64" } : {}) };
    return { status: statusCode, statusText: "", answered: Object.entries(headers), content };
  } catch {
    return null;
  }
}
