// The site's SAEs that the page does not start with. Loaded by the page beside main.js.
import { $, el } from "../view/dom.js";
import { keepRest } from "./engine.js";
import { megabytes, whenMoreArrives, whenReady } from "./loading.js";

const words = el("span", {});
const button = el("button", { type: "button", class: "quiet", id: "rest-load" });
const line = el("p", { class: "own-status", id: "rest", hidden: true }, words, button);

$("shared").after(line);
whenReady(({ saes, rest, bytes }) => {
  line.hidden = rest === 0;
  words.textContent = `The SAEs of ${saes - rest} of ${saes} layers are loaded. `;
  button.textContent = `Load all (${megabytes(bytes)} MB)`;
});
button.addEventListener("click", async () => {
  button.disabled = true;
  whenMoreArrives((text) => {
    words.textContent = `Loading the other SAEs: ${text}. `;
  });
  try {
    await keepRest();
    location.reload();
  } catch (error) {
    whenMoreArrives(null);
    words.textContent = error instanceof Error ? error.message : String(error);
    button.disabled = false;
  }
});
