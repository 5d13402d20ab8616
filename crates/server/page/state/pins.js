// Pinned features, which the browser keeps for each model.

/** @typedef {{hook: string, feature: number}} Pin */

const KEY = "nanoscope.pins";
/** Maximum number of pins of a model. */
export const MOST = 40;
/** @type {Set<() => void>} */
const listeners = new Set();

/** @returns {Record<string, unknown>} */
function stored() {
  try {
    const all = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return typeof all === "object" && all !== null && !Array.isArray(all) ? all : {};
  } catch {
    return {};
  }
}

/**
 * The pinned features of a model, in the order of pinning.
 * @param {string} model
 * @returns {Pin[]}
 */
export function pins(model) {
  const some = Object.hasOwn(stored(), model) ? stored()[model] : [];
  if (!Array.isArray(some)) return [];
  return some.filter((pin) => typeof pin?.hook === "string" && Number.isInteger(pin.feature) && pin.feature >= 0).map(({ hook, feature }) => ({ hook, feature }));
}

/**
 * @param {string} model
 * @param {Pin} pin
 */
export const isPinned = (model, { hook, feature }) => pins(model).some((one) => one.hook === hook && one.feature === feature);

/** True if a model has no room for another pin. @param {string} model */
export const isFull = (model) => pins(model).length >= MOST;

/**
 * Pins a feature, or removes its pin.
 * @param {string} model
 * @param {Pin} pin
 */
export function togglePin(model, pin) {
  const others = pins(model).filter((one) => one.hook !== pin.hook || one.feature !== pin.feature);
  const now = isPinned(model, pin) ? others : [...others, { hook: pin.hook, feature: pin.feature }].slice(-MOST);
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...stored(), [model]: now }));
  } catch {
    // Without storage there are no pins.
  }
  for (const listener of listeners) listener();
}

/** @param {() => void} listener */
export function onPin(listener) {
  listeners.add(listener);
}
