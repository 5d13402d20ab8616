import { automaticName, label, nameOf } from "../state/names.js";
import { el, named } from "./dom.js";

/**
 * A feature's name. An automatic one is grey and says that it is.
 * @param {string} hook
 * @param {number} feature
 */
export function nameSpan(hook, feature) {
  const { text, from } = nameOf(hook, feature);
  const mark = from === "tokens" && el("span", { class: "auto", title: "An automatic name, from the tokens that the feature fires on and promotes" }, "auto");
  return el("span", { class: from === "person" ? "label" : "label off" }, mark, mark && " ", named(text));
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
