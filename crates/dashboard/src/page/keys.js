"use strict";

const SHORTCUTS = "nanoscope shortcuts";

/// Creates the switch of the keys that are single letters. Users of speech input turn them off: their words are
/// keys.
function shortcutSwitch() {
  let on = true;
  try {
    on = localStorage.getItem(SHORTCUTS) !== "off";
  } catch {
    // Without storage they are on.
  }
  const choose = (event) => {
    try {
      localStorage.setItem(SHORTCUTS, event.target.checked ? "on" : "off");
    } catch {
      // Without storage, the choice lasts until the page is closed.
    }
  };
  return el("label", { class: "check" }, el("input", { type: "checkbox", id: "shortcuts", checked: on, onchange: choose }), " keys: / searches, j and k lead to the next and the previous feature");
}

/// Wires the keys of the page.
function wireKeys() {
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") hideTip();
    if (!$("shortcuts").checked || event.target.matches("input:not([type=checkbox]), select, textarea, [role=slider]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const link = { j: "next", k: "prev" }[event.key];
    if (link && !$("feature").hidden) $("feature").querySelector(`a[rel=${link}]`)?.click();
    if (event.key === "/" && !$("list").hidden) {
      event.preventDefault();
      $("search").focus();
    }
  });
}
