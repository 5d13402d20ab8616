import { el } from "./dom.js";

/**
 * Copies a text to the clipboard. Resolves to false where that is not allowed.
 * @param {string} text
 */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Duration of the word on a button that has copied, in ms. */
const SAID = 1500;

/**
 * Says on a button that its text is copied.
 * @param {HTMLElement} button
 * @param {string} name the name of the button, which it has again afterwards
 */
export function sayCopied(button, name) {
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = name), SAID);
}

/**
 * A button that copies a text, and says so; where copying is not allowed, the text appears selected beside it.
 * @param {string} name
 * @param {() => string} text
 */
export function copyButton(name, text) {
  const shown = el("input", { readonly: true, class: "copied", "aria-label": name, hidden: true });
  const button = el("button", { type: "button", onclick: async () => {
    if (await copy(text())) {
      sayCopied(button, name);
    } else {
      shown.value = text();
      shown.hidden = false;
      shown.select();
    }
  } }, name);
  return [button, shown];
}
