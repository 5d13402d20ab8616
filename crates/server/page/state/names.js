// Labels and maximum activations of the features that the page has seen.

/** @type {Map<string, string>} */
const labels = new Map();
/** @type {Map<string, number>} */
const highest = new Map();
/** @type {Set<() => void>} */
const listeners = new Set();
const id = (/** @type {string} */ hook, /** @type {number} */ feature) => `${hook}:${feature}`;

/**
 * @param {string} hook
 * @param {number} feature
 * @param {string | null | undefined} label
 */
export function learn(hook, feature, label) {
  if (label) labels.set(id(hook, feature), label);
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
 * A feature's label; empty if there is none or the feature has not been seen.
 * @param {string} hook
 * @param {number} feature
 */
export function label(hook, feature) {
  return labels.get(id(hook, feature)) ?? "";
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
