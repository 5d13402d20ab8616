import { json } from "../client/api.js";
import { learn, reached, unlearn } from "../state/names.js";
/** @import {About, FeatureData} from "../types.d.ts" */

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
  const data = /** @type {FeatureData} */ (await json(featurePath(about, hook, feature)));
  // Somebody else may have changed the label.
  learn(hook, feature, data.auto, true);
  if (data.label) learn(hook, feature, data.label);
  else unlearn(hook, feature);
  reached(hook, feature, data.max);
  for (const [index, , name, automatic] of data.nearest ?? []) learn(hook, index, name, automatic === true);
  return data;
}
