// What every part of the page builds with. Whatever an event, a response or a log line says is text: it enters the page
// by textContent alone.

export const $ = (id) => document.getElementById(id);

export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

export function button(text, act, className = "") {
  const element = make("button", className, text);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

// The shapes of the screen, as page.css has them.
export const isWide = matchMedia("(min-width: 68.75rem) and (min-height: 30.01rem)");
export const isNarrow = matchMedia("(max-width: 44rem), (max-height: 30rem)");
export const isShort = matchMedia("(max-height: 30rem)");

// Only what changes is written: a screen reader and the layout are told of every write.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function set(element, attribute, value) {
  if (element.getAttribute(attribute) !== String(value)) element.setAttribute(attribute, value);
}

export function news(text) {
  $("news").textContent = text;
}

// Numbers, times and ids as they are read.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const count = (value) => whole.format(value);
export const ms = (value) => `${value < 9.95 ? fine.format(Math.max(0, value)) : whole.format(value)} ms`;
export const bytes = (value) => `${whole.format(value)} ${value === 1 ? "byte" : "bytes"}`;
export const short = (id) => id.slice(0, 8);

export function clock(time) {
  const date = new Date(time);
  return `${date.toLocaleTimeString("en-GB")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

export function pretty(text) {
  // Only where nothing is lost by it: a number may be larger than JavaScript's, a key may stand twice.
  try {
    const value = JSON.parse(text);
    if (JSON.stringify(value).replace(/\s/g, "") === text.replace(/\s/g, "")) return JSON.stringify(value, null, 2);
  } catch { /* not JSON */ }
  return text;
}

// What outlives a reload. A browser may refuse to keep anything: then nothing does.

export function remembered(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(`lambda-ric ${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`lambda-ric ${name}`, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
