// Names and maximum activations of the features that the page has seen.

/** Labels that people gave. @type {Map<string, string>} */
const labels = new Map();
/** Names from the tokens that features fire on and promote. @type {Map<string, string>} */
const automatic = new Map();
/** @type {Map<string, number>} */
const highest = new Map();
/** @type {Set<() => void>} */
const listeners = new Set();
const id = (/** @type {string} */ hook, /** @type {number} */ feature) => `${hook}:${feature}`;

/**
 * @param {string} hook
 * @param {number} feature
 * @param {string | null | undefined} name
 * @param {boolean} auto true for an automatic name
 */
export function learn(hook, feature, name, auto = false) {
  if (name) (auto ? automatic : labels).set(id(hook, feature), name);
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
 * A name for a feature: its label, its automatic name, or its number.
 * @param {string} hook
 * @param {number} feature
 * @returns {{text: string, from: "person" | "tokens" | "number"}}
 */
export function nameOf(hook, feature) {
  const own = label(hook, feature);
  if (own) return { text: own, from: "person" };
  const name = automaticName(hook, feature);
  return name ? { text: name, from: "tokens" } : { text: `feature ${feature}`, from: "number" };
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
