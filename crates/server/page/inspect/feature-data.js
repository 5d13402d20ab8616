import { json } from "../client/api.js";
import { learn, reached, unlearn } from "../state/names.js";
/** @import {About, FeatureData} from "../types.d.ts" */

/** @type {Map<string, FeatureData>} */
const known = new Map();

/**
 * The path of a feature's data.
 * @param {About} about
 * @param {string} hook
 * @param {number} feature
 */
export function featurePath(about, hook, feature) {
  const source = about.saes.find((sae) => sae.hook === hook)?.source ?? hook;
  return `/api/saes/${encodeURIComponent(source)}/features/${feature}`;
}

/**
 * Loads what the server knows about a feature.
 * @param {About} about
 * @param {string} hook
 * @param {number} feature
 * @returns {Promise<FeatureData>}
 */
export async function featureData(about, hook, feature) {
  const key = `${hook}:${feature}`;
  let data = known.get(key);
  if (!data) {
    data = /** @type {FeatureData} */ (await json(featurePath(about, hook, feature)));
    known.set(key, data);
    if (!data.label) unlearn(hook, feature);
  }
  learn(hook, feature, data.label);
  learn(hook, feature, data.auto, true);
  reached(hook, feature, data.max);
  for (const [index, , name, automatic] of data.nearest ?? []) learn(hook, index, name, automatic === true);
  return data;
}

/**
 * Updates the label of a feature whose data were loaded.
 * @param {string} hook
 * @param {number} feature
 * @param {string} label
 */
export function relabel(hook, feature, label) {
  const data = known.get(`${hook}:${feature}`);
  if (data) data.label = label;
}
