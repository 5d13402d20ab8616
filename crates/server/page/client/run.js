import { stream } from "./api.js";
import { fillIn } from "../state/prompt.js";
import { writeSpec } from "../state/spec.js";
/** @import {About, Ending, State, Token} from "../types.d.ts" */

/** Number of features requested per hook point and token. Only these can shade a text. */
export const TOP = 32;

/**
 * The path and body of a run's request.
 * @param {State} state
 * @param {About} about
 */
export function request(state, about) {
  const steer = state.steer.map(writeSpec);
  const body = {
    model: about.name,
    ...(state.mode === "chat" ? { messages: state.messages } : { prompt: state.prompt }),
    stream: true,
    max_tokens: state.maxTokens,
    temperature: state.temperature,
    top_p: state.topP,
    ...(state.topK > 0 && { top_k: state.topK }),
    seed: state.seed,
    // Of the generated token alone.
    logprobs: state.mode === "chat" ? true : 0,
    nanoscope: { track: about.saes.length > 0 ? ["all"] : [], top: TOP, prompt: true, steer, compare: state.compare && steer.length > 0 },
  };
  return { path: state.mode === "chat" ? "/v1/chat/completions" : "/v1/completions", body };
}

/**
 * Callbacks during a run. `choice` is 0 for the steered text and 1 for the unsteered one.
 * @typedef {object} Listener
 * @property {(choice: number, tokens: Token[]) => void} prompt
 * @property {(choice: number, token: Token) => void} token
 * @property {(choice: number, ending: Ending) => void} end
 */

/**
 * Runs until the end, or until `signal` aborts.
 * @param {State} state
 * @param {About} about
 * @param {AbortSignal} signal
 * @param {Listener} listener
 */
export async function run(state, about, signal, listener) {
  const { path, body } = request(state, about);
  for await (const chunk of stream(path, body, signal)) {
    const [choice] = chunk.choices ?? [];
    const extra = chunk.nanoscope ?? choice?.nanoscope;
    if (!choice) continue;
    const index = choice.index ?? 0;
    if (extra?.prompt) {
      const tokens = extra.prompt.map((/** @type {any} */ token) => read(token, "", true));
      fillIn(tokens, state.mode === "chat" ? state.messages.map(({ content }) => content) : [state.prompt]);
      listener.prompt(index, tokens);
    }
    const text = choice.text ?? choice.delta?.content ?? "";
    if (extra?.token_id !== undefined) listener.token(index, { ...read(extra, text, false), logprob: choice.logprobs?.token_logprobs?.[0] ?? choice.logprobs?.content?.[0]?.logprob });
    if (choice.finish_reason) listener.end(index, { finish: choice.finish_reason, end: extra?.end, applied: extra?.applied, reused: extra?.reused });
  }
}

/**
 * @param {any} entry
 * @param {string} text
 * @param {boolean} prompt
 * @returns {Token}
 */
function read(entry, text, prompt) {
  const token = entry.token ?? text;
  // A token that is part of a character has no text of its own; the last such token has the character.
  const piece = text !== "" ? text : token.includes("\ufffd") ? "" : token;
  return { position: entry.position, id: entry.token_id, token, piece, prompt, features: entry.features ?? {} };
}
