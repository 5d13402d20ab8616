// What features are called, as far as the page has heard.

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
 * Called after a label was given by hand; an empty one is none.
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
 * A feature's label; none if it has none or it was not heard of.
 * @param {string} hook
 * @param {number} feature
 */
export function label(hook, feature) {
  return labels.get(id(hook, feature)) ?? "";
}

/**
 * Keeps the largest value that a feature was seen with.
 * @param {string} hook
 * @param {number} feature
 * @param {number | null | undefined} value
 */
export function reached(hook, feature, value) {
  if (value && value > (highest.get(id(hook, feature)) ?? 0)) highest.set(id(hook, feature), value);
}

/**
 * The largest value that a feature is known to have had; 0 if none is.
 * @param {string} hook
 * @param {number} feature
 */
export function high(hook, feature) {
  return highest.get(id(hook, feature)) ?? 0;
}
