"use strict";

/// Creates the command that steers with a feature, and a button that copies it.
function steerCommand({ flags, strength }, hook, feature) {
  const words = ["nanoscope generate", flags || undefined, `--steer ${hook}:${feature}:add:${strength}`];
  const command = words.filter((word) => word !== undefined).join(" ");
  const code = el("code", {}, command);
  const state = el("span", { class: "hint", role: "status" });
  const press = async () => {
    state.textContent = (await copy(command, code)) ? "Copied." : "Copying is not allowed here: the command is selected, copy it with the keyboard.";
  };
  const share = strength.replace("%", " %");
  const paths = flags === null
    ? " Add --model and --sae: this dashboard does not know the files of the model."
    : flags === "" ? "" : " The paths are as they were given to nanoscope dashboard.";
  return el("section", { class: "steer", "aria-labelledby": "steer-title" },
    el("h2", { id: "steer-title" }, "Steer"),
    el("p", { class: "command" }, code, el("button", { type: "button", onclick: press }, "Copy the steer command")),
    el("p", { class: "hint" }, `Adds the feature's direction at every position, with a length of ${share} of the activation's.${paths} `, state));
}

/// Copies `text`, which `element` shows. Where pages may not write to the clipboard, the text is selected.
async function copy(text, element) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}
