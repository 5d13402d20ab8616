import { $ } from "../view/dom.js";

const KEY = "nanoscope.shortcut";

/**
 * Calls `act` when the search's key is pressed outside of fields. The switch in the footer turns it off, for users
 * of speech input, whose words are keys.
 * @param {() => void} act
 */
export function wireShortcut(act) {
  $("shortcut").closest("p").hidden = false;
  try {
    $("shortcut").checked = localStorage.getItem(KEY) !== "off";
  } catch {
    // Without storage it is on.
  }
  $("shortcut").addEventListener("change", () => {
    try {
      localStorage.setItem(KEY, $("shortcut").checked ? "on" : "off");
    } catch {
      // Without storage, the choice lasts until the page is closed.
    }
  });
  addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLElement && event.target.matches("input:not([type=range], [type=checkbox], [type=radio]), textarea, select");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey || !$("shortcut").checked || $("main").hidden) return;
    event.preventDefault();
    act();
  });
}
