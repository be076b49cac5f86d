// The events that the form offers: those of the package, and those that were saved in this browser.

import { $, make, remember, remembered } from "./dom.js";
import { download } from "./share.js";

let shipped = {};
let saved = remembered("examples", {});
let saving = ""; // the event of which the dialog asks

export async function start(use) {
  $("example").addEventListener("change", () => {
    const [from, name] = $("example").value.split(/:(.*)/s);
    if (from === "saved") use(saved[name]);
    else if (from === "shipped") use(JSON.stringify(shipped[name], null, 2));
  });
  $("save").addEventListener("click", () => ask($("event").value));
  // The button that was pressed is in the returnValue; Escape leaves none.
  $("saving").addEventListener("close", answer);
  const reply = await fetch("/_/examples");
  if (reply.ok) shipped = await reply.json();
  offer();
}

function offer(chosen = "") {
  const group = (label, from, names) => {
    const element = make("optgroup");
    element.label = label;
    element.append(...names.map((name) => {
      const option = make("option", "", name);
      option.value = `${from}:${name}`;
      return option;
    }));
    return element;
  };
  const groups = [group("Saved in this browser", "saved", Object.keys(saved)), group("Shipped", "shipped", Object.keys(shipped))];
  $("example").replaceChildren($("example").firstElementChild, ...groups.filter((each) => each.childElementCount));
  $("example").value = chosen;
}

export function ask(event) {
  saving = event;
  const [from, name] = $("example").value.split(/:(.*)/s);
  $("saving-name").value = from === "saved" ? name : "";
  $("saving-delete").hidden = from !== "saved";
  $("saving").returnValue = "";
  $("saving").showModal();
}

function answer() {
  const name = $("saving-name").value.trim();
  switch ($("saving").returnValue) {
    case "keep":
      saved = { ...saved, [name]: saving };
      if (!remember("examples", saved)) $("example").title = "This browser keeps nothing: it is here until the page is closed.";
      offer(`saved:${name}`);
      break;
    case "file":
      download(`${name}.json`, "application/json", saving);
      break;
    case "delete":
      delete saved[name];
      remember("examples", saved);
      offer();
  }
}
