// How the room is shared out: the separators, and the drawer of a narrow screen.

import { $, isNarrow, isShort, isWide, remember, remembered, set } from "./dom.js";

// The size of what follows a separator, in per cent; each shape of the screen has its own.
const sizes = remembered("sizes", {});
const STEP = 24; // pixels, by a key
const LEAST = 12;
const MOST = 85;

export function start() {
  for (const id of ["outer", "inner"]) adjustable($(id));
  for (const tab of ["send", "logs"]) $(`tab-${tab}`).addEventListener("click", () => turn(tab));
  for (const media of [isWide, isNarrow, isShort]) media.addEventListener("change", place);
  place();
  if (isShort.matches) turn("send"); // which closes it: there is room for one thing
}

const shape = () => (isWide.matches ? "wide" : isShort.matches ? "short" : isNarrow.matches ? "narrow" : "medium");
// Side by side: what the separator moves along the width.
const isUpright = (id) => (id === "outer") === isWide.matches;

function place() {
  for (const id of ["outer", "inner"]) {
    set($(id), "aria-orientation", isUpright(id) ? "vertical" : "horizontal");
    size(id, sizes[`${shape()} ${id}`] ?? null);
  }
}

// Both give their share as a size of the form: of what comes after the outer one, before the inner one.
function size(id, percent) {
  if (percent === null) $("main").style.removeProperty(`--${id}`);
  else $("main").style.setProperty(`--${id}`, `${percent}%`);
  $("main").classList.toggle(`${id}-sized`, percent !== null);
  set($(id), "aria-valuemin", LEAST);
  set($(id), "aria-valuemax", MOST);
  const { own, all } = measured(id);
  set($(id), "aria-valuenow", Math.round(percent ?? (100 * own) / all));
}

// The pixels of what a separator gives its size to, and of all that it shares out.
function measured(id) {
  const part = id === "outer" ? $("send").parentElement : $("send");
  const whole = part.parentElement;
  const style = getComputedStyle(whole);
  const own = part.getBoundingClientRect();
  if (isUpright(id)) return { own: own.width, all: whole.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) };
  return { own: own.height, all: whole.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom) };
}

function resize(id, pixels) {
  const percent = Math.min(Math.max((100 * pixels) / measured(id).all, LEAST), MOST);
  sizes[`${shape()} ${id}`] = percent;
  remember("sizes", sizes);
  open();
  size(id, percent);
}

function adjustable(separator) {
  const { id } = separator;
  const grows = id === "outer" ? -1 : 1; // to the right and down
  const placeOf = (event) => (isUpright(id) ? event.clientX : event.clientY);
  let from = null; // where it was taken, and the size then
  separator.addEventListener("pointerdown", (down) => {
    down.preventDefault();
    separator.setPointerCapture(down.pointerId);
    separator.focus();
    from = { place: placeOf(down), own: measured(id).own };
  });
  separator.addEventListener("pointermove", (at) => {
    if (separator.hasPointerCapture(at.pointerId)) resize(id, from.own + grows * (placeOf(at) - from.place));
  });
  separator.addEventListener("dblclick", () => {
    delete sizes[`${shape()} ${id}`];
    remember("sizes", sizes);
    size(id, null);
  });
  separator.addEventListener("keydown", (key) => {
    const steps = isUpright(id) ? { ArrowLeft: -1, ArrowRight: 1 } : { ArrowUp: -1, ArrowDown: 1 };
    if (!(key.key in steps)) return;
    key.preventDefault();
    key.stopPropagation();
    resize(id, measured(id).own + steps[key.key] * grows * STEP);
  });
}

// The drawer. A tab that is open already closes it.

function turn(tab) {
  const main = $("main");
  if (main.dataset.tab === tab && !main.classList.contains("closed")) main.classList.add("closed");
  else show(tab);
  mark();
}

export function show(tab) {
  $("main").dataset.tab = tab;
  open();
}

function open() {
  $("main").classList.remove("closed");
  mark();
}

function mark() {
  const main = $("main");
  for (const tab of ["send", "logs"]) {
    set($(`tab-${tab}`), "aria-expanded", main.dataset.tab === tab && !main.classList.contains("closed"));
  }
}
