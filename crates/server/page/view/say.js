import { $ } from "./dom.js";

/** Announces something to users of screen readers. @param {string} message */
export function say(message) {
  $("status").textContent = message;
}
