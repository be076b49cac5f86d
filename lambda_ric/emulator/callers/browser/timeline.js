// Draws an invocation: as a waterfall, and as the small bar of a folded row.

import { make, ms } from "./dom.js";
import { isBad, lifeOf, phasesOf, rowsOf } from "./invocation.js";

export function drawTimeline(table, it) {
  const rows = rowsOf(it);
  const origin = Math.min(...rows.map((row) => row.from));
  const end = Math.max(...rows.map((row) => row.to ?? row.from));
  const scale = scaleOf(end - origin);
  const percent = (time) => `${Math.max(0, Math.min(100, ((time - origin) / scale.length) * 100))}%`;
  const { answered } = it.times;
  table.style.setProperty("--step", `${100 / scale.count}%`);
  table.style.setProperty("--answered", answered === null ? "200%" : percent(answered));
  table.style.setProperty("--end", percent(end));
  table.classList.toggle("tinted", answered !== null && answered - origin < end - answered);
  const body = make("tbody");
  body.append(...rows.map((row) => drawRow(row, it, origin, percent)));
  table.replaceChildren(make("caption", "hidden-text", `Timeline of ${it.request_id}, in milliseconds`), drawHead(scale), body);
}

// Five ticks at most, at round numbers.
function scaleOf(length) {
  const power = 10 ** Math.floor(Math.log10(Math.max(length, 0.5) / 5));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => length / each <= 5);
  const count = Math.max(1, Math.ceil(length / step - 1e-9));
  return { step, count, length: step * count };
}

function drawHead({ step, count, length }) {
  const axis = make("span", "axis");
  for (let tick = 0; tick < count; tick++) {
    const label = make("i", "", length >= 1000 ? `${+((tick * step) / 1000).toFixed(3)} s` : `${+(tick * step).toFixed(2)} ms`);
    label.style.left = `${(100 / count) * tick}%`;
    axis.append(label);
  }
  const picture = make("td");
  picture.append(axis);
  const columns = [["start", "at"], ["took", "took"]].map(([className, text]) => {
    const cell = make("th", className, text);
    cell.scope = "col";
    return cell;
  });
  const line = make("tr");
  line.append(make("td", "name"), picture, ...columns, make("td", "state"));
  const head = make("thead");
  head.append(line);
  return head;
}

function drawRow(row, it, origin, percent) {
  const life = row.life ? lifeOf(it) : null;
  const bad = isBad(row.state) || Boolean(life?.bad);
  const line = make("tr", bad ? "bad" : "");
  line.append(
    nameOf(row), trackOf(row, life, percent), make("td", "start", ms(row.from - origin)),
    make("td", "took", row.to === undefined || row.life ? "" : ms(row.to - row.from)), stateOf(row),
  );
  return line;
}

function nameOf(row) {
  const name = make("th", "name");
  name.scope = "row";
  name.title = `${row.kind} ${row.name}`.trim();
  if (row.kind) name.append(make("span", "", row.name ? `${row.kind} ` : row.kind));
  if (row.name) name.append(row.kind && !row.life ? make("b", "", row.name) : row.name);
  return name;
}

function trackOf(row, life, percent) {
  const track = make("td", "track");
  const place = (className, from, to, text = "") => {
    const element = make("i", className, text);
    element.style.left = percent(from);
    if (to !== undefined) element.style.width = `calc(${percent(to)} - ${percent(from)})`;
    track.append(element);
  };
  if (row.mark) place(`mark ${row.mark}`, row.from);
  else if (row.life) {
    place("span life", row.from, row.to);
    if (life.began) place("label", row.from, undefined, life.began);
    if (life.ended) place(`label at-end ${life.bad ? "bad-label" : ""}`, row.to, undefined, life.ended);
  } else if (!row.wide) place(`span ${row.colour} ${row.going ? "going" : ""}`, row.from, row.to);
  return track;
}

function stateOf({ state = "", reason = "" }) {
  const glyph = isBad(state) ? "✗ " : state === "succeeded" ? "✓ " : "";
  const cell = make("td", "state", state && `${glyph}${state}`);
  if (reason) cell.title = reason;
  return cell;
}

export function drawPhases(bar, it) {
  const phases = phasesOf(it);
  const origin = phases[0][1];
  const length = Math.max(phases.at(-1)[2] - origin, 0.001);
  bar.replaceChildren(...phases.filter(([, from, to]) => to > from).map(([colour, from, to]) => {
    const element = make("i", `span ${colour}`);
    element.style.left = `${((from - origin) / length) * 100}%`;
    element.style.width = `${((to - from) / length) * 100}%`;
    return element;
  }));
}
