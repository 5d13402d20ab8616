import { nameOf } from "./names.js";
import { place, strength, OPS } from "./spec.js";
/** @import {Intervention, State} from "../types.d.ts" */

/**
 * An intervention in words, for text without the page around it.
 * @param {Intervention} spec
 */
export function inWords(spec) {
  const value = spec.op === "ablate" ? "" : ` ${strength(spec)}${spec.scale === "norm" ? " of the norm" : ""}`;
  const op = OPS[/** @type {keyof typeof OPS} */ (spec.op)].name;
  return `${place(spec.hook)} #${spec.feature} (${nameOf(spec.hook, spec.feature).text}): ${op}${value}`;
}

/**
 * A run as plain text: the prompt or the conversation, and the texts.
 * @param {State} state
 * @param {{name: string, written: string}[]} texts
 */
export function plainText(state, texts) {
  const head = state.mode === "chat" ? state.messages.map(({ role, content }) => `${role}: ${content}`) : [];
  const body = texts.map(({ name, written }) => {
    const text = state.mode === "chat" ? written : `${state.prompt}${written}`;
    return texts.length > 1 || state.steer.length > 0 ? `${name}:\n${text}` : state.mode === "chat" ? `assistant: ${text}` : text;
  });
  const how = state.steer.length > 0 ? [`Steering:\n${state.steer.map((spec) => `- ${inWords(spec)}`).join("\n")}`] : [];
  return [...head, ...body, ...how].join("\n\n");
}
