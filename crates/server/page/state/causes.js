/** @import {About, Causes, Origin, Token} from "../types.d.ts" */

/**
 * The reason why no causes of a token can be computed; empty if they can be.
 * @param {Token[] | null} tokens those up to it; null if the page does not have them
 * @param {Origin | undefined} origin that of a run that was opened from a file
 * @param {About} about
 */
export function obstacle(tokens, origin, about) {
  if (about.saes.length === 0) return "The causes of a token are features, and this server has no SAE.";
  if (origin && origin.model !== about.name) return `This run was made with the model ${origin.model || "of an unknown name"}. The causes of its tokens can only be computed there; this server has ${about.name}.`;
  if (tokens === null) return "The page no longer has the tokens before this one.";
  if (tokens.length < 2) return "This is the first token, so nothing before it can be its cause.";
  if (tokens.length > about.model.context) return `The model’s context of ${about.model.context} tokens ends before this token.`;
  return "";
}

/**
 * The weight of each position among the listed causes, and its direction. The largest weight is 1.
 * @param {Causes} causes
 * @returns {Map<number, {weight: number, against: boolean}>}
 */
export function weights({ features }) {
  /** @type {Map<number, {size: number, sum: number}>} */
  const sums = new Map();
  for (const { position, attribution } of features) {
    const before = sums.get(position) ?? { size: 0, sum: 0 };
    sums.set(position, { size: before.size + Math.abs(attribution), sum: before.sum + attribution });
  }
  const most = Math.max(0, ...[...sums.values()].map(({ size }) => size)) || 1;
  return new Map([...sums].map(([position, { size, sum }]) => [position, { weight: size / most, against: sum < 0 }]));
}

/** A number with its sign. @param {number} value */
export function signed(value) {
  const size = Math.abs(value);
  return `${value < 0 ? "−" : "+"}${size >= 0.1 || size === 0 ? size.toFixed(2) : String(Number(size.toPrecision(1)))}`;
}
