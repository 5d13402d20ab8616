import { effectInWords, fluencyInWords } from "./effect.js";
import { nameOf } from "./names.js";
import { OPS, place, strength, writeSpec } from "./spec.js";
/** @import {Ending, Intervention, State, Token} from "../types.d.ts" */

/** An intervention in words, and as it is written. @param {Intervention} spec */
function inWords(spec) {
  const value = spec.op === "ablate" ? "" : ` ${strength(spec)}${spec.scale === "norm" ? " of the norm" : ""}`;
  const op = OPS[/** @type {keyof typeof OPS} */ (spec.op)].name;
  return `${place(spec.hook)} #${spec.feature} (${nameOf(spec.hook, spec.feature).text}): ${op}${value} [${writeSpec(spec)}]`;
}

/**
 * The interventions with their effects and the fluency, for text without the page around it.
 * @param {Intervention[]} steer
 * @param {Partial<Ending> | undefined} ending that of the steered text
 * @param {Token[]} tokens those of the steered text
 */
export function steeringInWords(steer, ending, tokens) {
  const lines = steer.map((spec, at) => [inWords(spec), effectInWords(ending?.applied?.[at])].filter(Boolean).join(". "));
  return ending?.fluency && steer.length > 0 ? [...lines, fluencyInWords(ending.fluency, tokens).words] : lines;
}

/**
 * A run as plain text: the prompt or the conversation, the texts, and the steering.
 * @param {State} state
 * @param {{name: string, written: string}[]} texts
 * @param {string[]} steering the interventions in words
 */
export function plainText(state, texts, steering) {
  const head = state.mode === "chat" ? state.messages.map(({ role, content }) => `${role}: ${content}`) : [];
  const body = texts.map(({ name, written }) => {
    const text = state.mode === "chat" ? written : `${state.prompt}${written}`;
    return texts.length > 1 || state.steer.length > 0 ? `${name}:\n${text}` : state.mode === "chat" ? `assistant: ${text}` : text;
  });
  const how = steering.length > 0 ? [`Steering:\n${steering.map((line) => `- ${line}`).join("\n")}`] : [];
  return [...head, ...body, ...how].join("\n\n");
}
