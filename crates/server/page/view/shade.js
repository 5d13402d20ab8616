/** @import {Shade, Token} from "../types.d.ts" */

/** Number of shades. style.css has a colour for each: `.s1`, `.s2`, and so on. */
const LEVELS = 12;
/** Exponent for the strongest feature, which is high everywhere; it emphasises the differences. */
const STRONGEST = 2.2;
const ROUND = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];

/**
 * The activation that shades a token: that of the feature, or of the strongest one at the hook point.
 * @param {Token} token
 * @param {Shade | null} shade
 */
export function valueOf(token, shade) {
  const pairs = (shade && token.features[shade.hook]) || [];
  const pair = shade?.feature === null ? pairs[0] : pairs.find(([index]) => index === shade?.feature);
  return pair?.[1] ?? 0;
}

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
 * @param {boolean} strongest true if the value is that of the strongest feature
 */
export function level(value, scale, strongest = false) {
  if (value === 0) return 0;
  const share = Math.min(1, Math.abs(value) / scale);
  return Math.max(1, Math.ceil(LEVELS * (strongest ? share ** STRONGEST : share)));
}

/** The shades of the legend. @param {boolean} strongest */
export function ramp(strongest) {
  return Array.from({ length: LEVELS }, (_, at) => level((at + 1) / LEVELS, 1, strongest));
}
