import { count, number, percent } from "../view/dom.js";
/** @import {Applied, Fluency} from "../types.d.ts" */

/** From this length on, relative to the activation, an intervention leaves nothing of the text. */
const OVERWHELMING = 10;
/** From this ratio on, a steered text surprises the model too much to be called fluent. */
const BROKEN = 2;

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
 * The fluency of a steered text in words. A low figure is no praise: a text that repeats itself has one.
 * @param {Fluency} fluency
 */
export function fluencyInWords({ nll, unsteered_nll: plain, ratio }) {
  if (!ratio || plain === null || plain === undefined) return { words: `Fluency: ${number(nll, 2)} nats per token to the unsteered model.`, broken: false };
  const figures = `Fluency ${number(ratio, 2)}× (${number(plain, 2)} → ${number(nll, 2)} nats per token)`;
  if (ratio > BROKEN) return { words: `${figures}: the text is broken; reduce the strength.`, broken: true };
  return { words: `${figures}; broken above ${BROKEN}×.`, broken: false };
}
