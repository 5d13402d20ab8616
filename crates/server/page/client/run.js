import { stream } from "./api.js";
import { fillIn } from "../state/prompt.js";
import { writeSpec } from "../state/spec.js";
/** @import {About, Ending, State, Token} from "../types.d.ts" */

/** Features per hook point and token that are asked for; a text is shaded by what is among them. */
export const TOP = 32;

/**
 * Where a run is asked for, and how.
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
    nanoscope: { track: about.saes.length > 0 ? ["all"] : [], top: TOP, prompt: true, steer, compare: state.compare && steer.length > 0 },
  };
  return { path: state.mode === "chat" ? "/v1/chat/completions" : "/v1/completions", body };
}

/**
 * What is told of a run as it goes. `choice` is 0 for the text that is steered, 1 for the same
 * without.
 * @typedef {object} Listener
 * @property {(choice: number, tokens: Token[]) => void} prompt
 * @property {(choice: number, token: Token) => void} token
 * @property {(choice: number, ending: Ending) => void} end
 */

/**
 * Runs, until the end or until `signal` says so.
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
    if (extra?.token_id !== undefined) listener.token(index, read(extra, text, false));
    if (choice.finish_reason) listener.end(index, { finish: choice.finish_reason, end: extra?.end, applied: extra?.applied, reused: extra?.reused });
  }
}

/**
 * @param {any} said
 * @param {string} text
 * @param {boolean} prompt
 * @returns {Token}
 */
function read(said, text, prompt) {
  const token = said.token ?? text;
  // A piece of a character has no text of its own; the last piece brings all of it.
  const piece = text !== "" ? text : token.includes("\ufffd") ? "" : token;
  return { position: said.position, id: said.token_id, token, piece, prompt, features: said.features ?? {} };
}
