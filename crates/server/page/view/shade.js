/** @import {Shade, Token} from "../types.d.ts" */

/** Number of shades. style.css has a colour for each: `.s1`, `.s2`, and so on. */
const LEVELS = 12;
/** Exponent for the strongest feature, which is high everywhere; it emphasises the differences. */
const STRONGEST = 2.2;
const ROUND = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];

/** In place of a hook point: no shading. */
export const OFF = "off";
/** In place of a hook point: shading by how improbable each token was. */
export const SURPRISE = "surprise";

/**
 * The value that shades a token: the activation of the feature, after interventions if it is steered; of the
 * strongest feature at the hook point; or the token's surprise in nats.
 * @param {Token} token
 * @param {Shade} shade
 */
export function valueOf(token, { hook, feature }) {
  if (hook === OFF) return 0;
  if (hook === SURPRISE) return -(token.logprob ?? 0);
  const pairs = token.features[hook] ?? [];
  if (feature === null) return pairs[0]?.[1] ?? 0;
  return steeredTo(token, hook, feature) ?? activation(token, hook, feature);
}

/** True if the strongest feature of a hook point shades the text. @param {Shade} shade */
export const strongest = ({ hook, feature }) => feature === null && hook !== SURPRISE && hook !== OFF;

/**
 * A feature's activation at a token, before interventions.
 * @param {Token} token
 * @param {string} hook
 * @param {number} feature
 */
export const activation = (token, hook, feature) => token.features[hook]?.find(([index]) => index === feature)?.[1] ?? 0;

/**
 * A steered feature's activation after the interventions; undefined if none changes it.
 * @param {Token} token
 * @param {string} hook
 * @param {number} feature
 */
export const steeredTo = (token, hook, feature) => token.steered?.[hook]?.find(([index]) => index === feature)?.[1];

/**
 * The end of a scale that includes `high`. It is a round number, so that it seldom changes while the
 * text grows.
 * @param {number} high
 */
export function scaleFor(high) {
  if (!(high > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(high));
  return power * (ROUND.find((step) => step * power >= high * 0.999_999) ?? 10);
}

/**
 * The shade of a value; 0 for none.
 * @param {number} value
 * @param {number} scale
 * @param {boolean} emphasised true if the value is that of the strongest feature
 */
export function level(value, scale, emphasised = false) {
  if (value === 0) return 0;
  const share = Math.min(1, Math.abs(value) / scale);
  return Math.max(1, Math.ceil(LEVELS * (emphasised ? share ** STRONGEST : share)));
}

/** The shades of the legend. @param {boolean} emphasised true if the strongest feature shades the text */
export function ramp(emphasised) {
  return Array.from({ length: LEVELS }, (_, at) => level((at + 1) / LEVELS, 1, emphasised));
}
