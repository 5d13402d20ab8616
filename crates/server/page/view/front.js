import { $ } from "./dom.js";

/** The parts of the page of which one is shown. */
const FRONTS = /** @type {const} */ (["main", "key", "lost"]);

/** Shows the page, the question for a key, or the message that the server is lost. @param {(typeof FRONTS)[number]} front */
export function show(front) {
  for (const id of FRONTS) $(id).hidden = id !== front;
}

/** Wires the link that skips to the content. The address is left alone: it has the state of the page. */
export function wireSkip() {
  $("skip").addEventListener("click", (/** @type {Event} */ event) => {
    event.preventDefault();
    const front = FRONTS.find((id) => !$(id).hidden);
    if (front === "main") $("output").focus();
    else if (front) $(front).querySelector("input, button").focus();
  });
}
