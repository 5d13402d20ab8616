import { hasKey, useKey } from "../client/api.js";
import { $ } from "../view/dom.js";
import { show } from "../view/front.js";

/** Asks for the server's key, or for another one if it did not accept what was entered. */
export function askForKey() {
  show("key");
  $("key-error").hidden = !hasKey();
  $("key-text").setAttribute("aria-invalid", String(hasKey()));
  if (hasKey()) $("key-text").setAttribute("aria-describedby", "key-error");
  $("key-error").textContent = "The server does not accept this key. It is the one that the server was started with.";
  $("key-text").focus();
}

/**
 * Calls `then` when a key has been entered.
 * @param {() => void} then
 */
export function onKey(then) {
  $("key").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    useKey($("key-text").value.trim());
    then();
  });
}
