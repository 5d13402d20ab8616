// The card that the page shows while the model is loaded.
import { el } from "../view/dom.js";

const bar = el("progress", { max: 1, value: 0, "aria-label": "Loading" });
const how = el("p", { class: "hint", id: "loading-how" }, "Looking for the model.");
const card = el("main", { class: "card key", id: "loading" },
  el("h2", {}, "Loading the model"),
  el("p", { class: "hint" }, "It runs in this page, without a server. Nothing that you write or open leaves this machine."),
  bar, how);

/** @typedef {import("./engine.js").Ready} Ready */

/** @type {((model: Ready) => void)[]} */
const waiting = [];
/** True while the model can be asked. */
let isReady = false;
/** @type {((text: string) => void) | null} */
let onMore = null;

/** Calls `then` once the model can be asked. @param {(model: Ready) => void} then */
export function whenReady(then) {
  waiting.push(then);
}

/** Shows the progress of later downloads with `show`, or not at all. @param {((text: string) => void) | null} show */
export function whenMoreArrives(show) {
  onMore = show;
}

export const megabytes = (/** @type {number} */ bytes) => (bytes / 1e6).toFixed(1);

/**
 * Shows how many bytes have arrived, or that the model is being started.
 * @param {number} done
 * @param {number} total
 */
export function progress(done, total) {
  if (isReady) return onMore?.(`${megabytes(done)} of ${megabytes(total)} MB`);
  if (!card.isConnected) document.getElementById("lost")?.before(card);
  bar.value = total === 0 ? 0 : done / total;
  how.textContent = total <= 1 || done >= total ? "Starting the model." : `${megabytes(done)} of ${megabytes(total)} MB. Your browser keeps them for the next time.`;
}

/** @param {Ready} model */
export function ready(model) {
  card.remove();
  isReady = true;
  for (const then of waiting) then(model);
}

/** Makes room for the reason, which the page shows. */
export function failed() {
  card.remove();
  isReady = false;
}
