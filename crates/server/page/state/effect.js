import { count, number, percent } from "../view/dom.js";
import { special } from "./prompt.js";
/** @import {Applied, Fluency, Token} from "../types.d.ts" */

/** From this length on, relative to the activation, an intervention leaves nothing of the text. */
const OVERWHELMING = 10;
/** From this ratio on, a steered text surprises the model too much to be called fluent. */
const BROKEN = 2;
/** Length of the sequences of tokens by which a text is found to repeat itself. */
const SEQUENCE = 4;
/**
 * From this share of repeated sequences on, a text repeats itself. The most of 40 stories of the demo without
 * steering is 0.18; "bird nest bird bird", at twice the default strength, has 0.55.
 */
const REPEATED = 0.3;

/**
 * The effect of an intervention in words; empty if it is not known.
 * @param {Applied | undefined} effect
 */
export function effectInWords(effect) {
  if (!effect) return "";
  if (effect.changed === 0) return `Changed nothing at ${count(effect.positions, "token")}.`;
  const moved = `Moved the activation at ${count(effect.changed, "token")}, by`;
  if (effect.moved < OVERWHELMING) return `${moved} ${percent(effect.moved)} on average.`;
  const times = effect.moved < 1000 ? `${Math.round(effect.moved)} times` : "more than 1,000 times";
  return `${moved} ${times} its own length on average. The text no longer depends on the prompt; reduce the strength.`;
}

/**
 * The fluency of a steered text in words. The figure does not see that a text repeats itself, which is easy to
 * predict, so this is said beside it.
 * @param {Fluency} fluency
 * @param {Token[]} tokens those of the text
 */
export function fluencyInWords({ nll, unsteered_nll: plain, ratio }, tokens) {
  const share = repeated(tokens);
  const repeats = share >= REPEATED;
  const again = repeats ? ` The text repeats itself: ${Math.round(share * 100)} % of its sequences of ${SEQUENCE} tokens have occurred before.` : "";
  if (!ratio || plain === null || plain === undefined) return { words: `Fluency: ${number(nll, 2)} nats per token to the unsteered model.${again}`, broken: repeats };
  const figures = `Fluency ${number(ratio, 2)}× (${number(plain, 2)} → ${number(nll, 2)} nats per token)`;
  if (ratio > BROKEN) return { words: `${figures}: the text is broken; reduce the strength.`, broken: true };
  return { words: `${figures}; broken above ${BROKEN}×.${again}`, broken: repeats };
}

/** The share of a text's generated sequences of tokens that have occurred before in it. @param {Token[]} tokens */
export function repeated(tokens) {
  const ids = tokens.filter((token) => !token.prompt && !special(token)).map(({ id }) => id);
  const all = ids.slice(SEQUENCE - 1).map((_, at) => ids.slice(at, at + SEQUENCE).join());
  return all.length === 0 ? 0 : 1 - new Set(all).size / all.length;
}
