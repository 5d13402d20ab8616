// Names and maximum activations of the features that the page has seen.
/** @import {Recording} from "../types.d.ts" */

/** Labels that people gave. @type {Map<string, string>} */
const labels = new Map();
/** Names from the tokens that features fire on and promote. @type {Map<string, string>} */
const automatic = new Map();
/** The names in a run that was opened from a file, while it is shown. @type {Map<string, {text: string, auto: boolean}>} */
const fromFile = new Map();
/** @type {Map<string, number>} */
const highest = new Map();
/** @type {Set<() => void>} */
const listeners = new Set();
const id = (/** @type {string} */ hook, /** @type {number} */ feature) => `${hook}:${feature}`;

/**
 * Takes the name that the server gives a feature: its label, or an automatic name if it has none.
 * @param {string} hook
 * @param {number} feature
 * @param {string | null | undefined} name
 * @param {boolean} auto true for an automatic name
 */
export function learn(hook, feature, name, auto = false) {
  if (!name) return;
  (auto ? automatic : labels).set(id(hook, feature), name);
  if (auto) labels.delete(id(hook, feature));
}

/** Removes a label that the server does not have. @param {string} hook @param {number} feature */
export function unlearn(hook, feature) {
  labels.delete(id(hook, feature));
}

/**
 * Takes the names in an opened run, in place of those of another one. They name features that have no other
 * name, and are never a label that could be edited or saved.
 * @param {Pick<Recording, "labels" | "automatic_names"> | null} run null to remove them
 */
export function useNamesOf(run) {
  const before = fromFile.size;
  fromFile.clear();
  for (const [auto, names] of /** @type {const} */ ([[true, run?.automatic_names], [false, run?.labels]])) {
    for (const [hook, some] of Object.entries(names ?? {})) {
      for (const [index, text] of Object.entries(some)) if (text) fromFile.set(id(hook, Number(index)), { text, auto });
    }
  }
  if (before + fromFile.size > 0) for (const listener of listeners) listener();
}

/**
 * Updates a label after the user has edited it. An empty label removes it.
 * @param {string} hook
 * @param {number} feature
 * @param {string} label
 */
export function rename(hook, feature, label) {
  if (label) labels.set(id(hook, feature), label);
  else labels.delete(id(hook, feature));
  for (const listener of listeners) listener();
}

/** @param {() => void} listener */
export function onRename(listener) {
  listeners.add(listener);
}

/**
 * The label that a person gave to a feature; empty if there is none or the feature has not been seen.
 * @param {string} hook
 * @param {number} feature
 */
export function label(hook, feature) {
  return labels.get(id(hook, feature)) ?? "";
}

/**
 * A feature's automatic name; empty if it is not known.
 * @param {string} hook
 * @param {number} feature
 */
export function automaticName(hook, feature) {
  return automatic.get(id(hook, feature)) ?? "";
}

/**
 * A name for a feature: its label, its automatic name, one in the opened file, or its number.
 * @param {string} hook
 * @param {number} feature
 * @returns {{text: string, from: "person" | "tokens" | "file" | "number"}}
 */
export function nameOf(hook, feature) {
  const own = label(hook, feature);
  if (own) return { text: own, from: "person" };
  const name = automaticName(hook, feature);
  if (name) return { text: name, from: "tokens" };
  const theirs = fromFile.get(id(hook, feature));
  if (theirs) return { text: theirs.text, from: theirs.auto ? "tokens" : "file" };
  return { text: `feature ${feature}`, from: "number" };
}

/**
 * Records an activation of a feature, to keep the maximum.
 * @param {string} hook
 * @param {number} feature
 * @param {number | null | undefined} value
 */
export function reached(hook, feature, value) {
  if (value && value > (highest.get(id(hook, feature)) ?? 0)) highest.set(id(hook, feature), value);
}

/**
 * The maximum activation of a feature so far; 0 if none is known.
 * @param {string} hook
 * @param {number} feature
 */
export function high(hook, feature) {
  return highest.get(id(hook, feature)) ?? 0;
}
