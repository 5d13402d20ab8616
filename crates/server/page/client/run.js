import { stream } from "./api.js";
import { fillIn } from "../state/prompt.js";
import { writeSpec } from "../state/spec.js";
/** @import {About, Ending, State, Token} from "../types.d.ts" */

/** Number of the most probable tokens requested at each generated token. */
const ALTERNATIVES = 5;
/** Number of features requested per hook point and token. Only these can shade a text. */
export const TOP = 32;

/**
 * The path and body of a run's request.
 * @param {State} state
 * @param {About} about
 */
export function request(state, about) {
  const steer = state.steer.map(writeSpec);
  const compare = state.compare && steer.length > 0;
  const body = {
    model: about.name,
    ...(state.mode === "chat" ? { messages: state.messages } : { prompt: state.prompt }),
    stream: true,
    max_tokens: state.maxTokens,
    temperature: state.temperature,
    top_p: state.topP,
    ...(state.topK > 0 && { top_k: state.topK }),
    seed: state.seed,
    ...(state.mode === "chat" ? { logprobs: true, top_logprobs: ALTERNATIVES } : { logprobs: ALTERNATIVES }),
    nanoscope: { track: about.saes.length > 0 ? ["all"] : [], top: TOP, prompt: true, steer, compare },
  };
  return { path: state.mode === "chat" ? "/v1/chat/completions" : "/v1/completions", body };
}

/**
 * Callbacks during a run. `choice` is 0 for the steered text and 1 for the unsteered one.
 * @typedef {object} Listener
 * @property {(choice: number, tokens: Token[]) => void} prompt
 * @property {(choice: number, token: Token) => void} token
 * @property {(choice: number, ending: Ending) => void} end
 * @property {(notes: string) => void} note remarks of the server on the request
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
    if (extra?.notes?.length > 0) listener.note(extra.notes.join(" "));
    if (!choice) continue;
    const index = choice.index ?? 0;
    if (extra?.prompt) {
      const tokens = extra.prompt.map((/** @type {any} */ token) => read(token, "", true));
      fillIn(tokens, state.mode === "chat" ? state.messages.map(({ content }) => content) : [state.prompt]);
      listener.prompt(index, tokens);
    }
    const text = choice.text ?? choice.delta?.content ?? "";
    if (extra?.token_id !== undefined) listener.token(index, { ...read(extra, text, false), ...probabilities(choice.logprobs) });
    if (choice.finish_reason) listener.end(index, { finish: choice.finish_reason, end: extra?.end, applied: extra?.applied, fluency: extra?.fluency, reused: extra?.reused });
  }
}

/**
 * The probability of a token and of those that were the most probable there, in the form of either interface.
 * @param {any} logprobs
 * @returns {Pick<Token, "logprob" | "alternatives">}
 */
function probabilities(logprobs) {
  const [said] = logprobs?.content ?? [];
  const [top] = logprobs?.top_logprobs ?? [];
  /** @type {[string, number][]} */
  const some = said ? (said.top_logprobs ?? []).map((/** @type {any} */ one) => [one.token, one.logprob]) : Object.entries(top ?? {});
  const alternatives = some.filter(([, logprob]) => Number.isFinite(logprob)).sort((a, b) => b[1] - a[1]).slice(0, ALTERNATIVES);
  return { logprob: logprobs?.token_logprobs?.[0] ?? said?.logprob, ...(alternatives.length > 0 && { alternatives }) };
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
  // In a comparison, `steered` only says which text it is.
  const steered = entry.steered_features ?? (typeof entry.steered === "object" ? entry.steered : null);
  return { position: entry.position, id: entry.token_id, token, piece, prompt, features: entry.features ?? {}, ...(steered && { steered }) };
}
