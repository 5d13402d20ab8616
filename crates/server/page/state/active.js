/** @import {Token} from "../types.d.ts" */
import { special } from "./prompt.js";

/** Features at more than this share of a text's tokens are common: they say little about a part of it. */
const COMMON = 0.5;

/**
 * A feature of a part of a text.
 * @typedef {{index: number, total: number, max: number, tokens: number, at: number, common: boolean}} Active
 */

/**
 * The features of some tokens, by hook point: those that are rare in the whole text first, and of these the ones
 * with the largest sum of activations. `at` is the token with the highest activation.
 * @param {Token[]} tokens the whole text
 * @param {(at: number) => boolean} chosen
 * @returns {Map<string, Active[]>}
 */
export function mostActive(tokens, chosen) {
  /** @type {Map<string, Map<number, Active & {everywhere: number}>>} */
  const found = new Map();
  let whole = 0;
  for (const [at, token] of tokens.entries()) {
    if (special(token)) continue;
    whole++;
    const own = chosen(at);
    for (const [hook, pairs] of Object.entries(token.features)) {
      const features = found.get(hook) ?? new Map();
      found.set(hook, features);
      for (const [index, signed] of pairs) {
        const value = Math.abs(signed);
        const feature = features.get(index) ?? { index, total: 0, max: 0, tokens: 0, at: -1, common: false, everywhere: 0 };
        features.set(index, feature);
        feature.everywhere++;
        if (!own) continue;
        feature.total += value;
        feature.tokens++;
        if (value > feature.max) [feature.max, feature.at] = [value, at];
      }
    }
  }
  /** @type {Map<string, Active[]>} */
  const out = new Map();
  for (const [hook, features] of found) {
    const some = [...features.values()].filter((feature) => feature.tokens > 0).map(({ everywhere, ...feature }) => ({ ...feature, common: everywhere > whole * COMMON }));
    out.set(hook, some.sort((a, b) => Number(a.common) - Number(b.common) || b.total - a.total));
  }
  return out;
}
