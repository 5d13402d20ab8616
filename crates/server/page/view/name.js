import { automaticName, label, nameOf } from "../state/names.js";
import { el, named } from "./dom.js";

/** The marks of names that are no label on this server, with what they mean. */
const MARKS = Object.freeze({
  tokens: ["auto", "An automatic name, from the tokens that the feature fires on and promotes"],
  file: ["file", "A label in the opened file; this server has none"],
});

/**
 * A feature's name. An automatic one, and one from an opened file, is grey and says so.
 * @param {string} hook
 * @param {number} feature
 */
export function nameSpan(hook, feature) {
  const { text, from } = nameOf(hook, feature);
  const [mark, title] = from === "tokens" || from === "file" ? MARKS[from] : [];
  return el("span", { class: from === "person" ? "label" : "label off" }, mark && el("span", { class: "auto", title }, mark), mark && " ", named(text));
}

/**
 * The automatic name below a label that a person gave; null without both.
 * @param {string} hook
 * @param {number} feature
 */
export function otherName(hook, feature) {
  const name = automaticName(hook, feature);
  return name && label(hook, feature) ? el("p", { class: "hint other" }, el("span", { class: "auto" }, "auto"), " ", named(name)) : null;
}
