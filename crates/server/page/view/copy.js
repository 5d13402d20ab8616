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

/**
 * A button that copies a text, and says so; where copying is not allowed, the text appears selected beside it.
 * @param {string} name
 * @param {() => string} text
 */
export function copyButton(name, text) {
  const shown = el("input", { readonly: true, class: "copied", "aria-label": name, hidden: true });
  const button = el("button", { type: "button", onclick: async () => {
    if (await copy(text())) {
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = name), 1500);
    } else {
      shown.value = text();
      shown.hidden = false;
      shown.select();
    }
  } }, name);
  return [button, shown];
}
