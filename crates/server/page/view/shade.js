/** @import {Shade, Token} from "../types.d.ts" */

/** Steps of the shading; style.css has a colour for each, `.s1` and on. */
const LEVELS = 12;
/** Some feature is the strongest everywhere, so it is the differences that are shown. */
const STRONGEST = 2.2;
const ROUND = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];

/**
 * A token's value for a shade: of the feature, or of the strongest one at the hook point.
 * @param {Token} token
 * @param {Shade | null} shade
 */
export function valueOf(token, shade) {
  const pairs = (shade && token.features[shade.hook]) || [];
  const pair = shade?.feature === null ? pairs[0] : pairs.find(([index]) => index === shade?.feature);
  return pair?.[1] ?? 0;
}

/**
 * The end of a scale that has `high` on it: a round number, so that it seldom changes while a text
 * grows.
 * @param {number} high
 */
export function scaleFor(high) {
  if (!(high > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(high));
  return power * (ROUND.find((step) => step * power >= high * 0.999_999) ?? 10);
}

/**
 * The step of a value, 0 for none.
 * @param {number} value
 * @param {number} scale
 * @param {boolean} strongest whether it is whichever feature is the strongest
 */
export function level(value, scale, strongest = false) {
  if (value === 0) return 0;
  const share = Math.min(1, Math.abs(value) / scale);
  return Math.max(1, Math.ceil(LEVELS * (strongest ? share ** STRONGEST : share)));
}

/** The legend's steps. @param {boolean} strongest */
export function ramp(strongest) {
  return Array.from({ length: LEVELS }, (_, at) => level((at + 1) / LEVELS, 1, strongest));
}
