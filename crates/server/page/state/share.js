import { parseShade, parseSpec, writeShade, writeSpec } from "./spec.js";
/** @import {State, View} from "../types.d.ts" */

/** Seeds are below this limit, so that JSON numbers represent them exactly. */
export const SEEDS = 2 ** 53;

/**
 * The initial state of the page.
 * @returns {State}
 */
export function initial() {
  return {
    mode: "story",
    prompt: "Once upon a time, there was a",
    messages: [],
    steer: [],
    compare: false,
    seed: 3,
    temperature: 0.7,
    topK: 0,
    topP: 1,
    maxTokens: 96,
    shade: null,
    view: null,
  };
}

/**
 * The state as a link's fragment. docs/page.md describes the format.
 * @param {State} state
 */
export function toFragment(state) {
  const fields = new URLSearchParams();
  if (state.mode === "chat") {
    fields.append("mode", "chat");
    for (const { role, content } of state.messages) fields.append(role, content);
  } else {
    fields.append("prompt", state.prompt);
  }
  for (const spec of state.steer) fields.append("steer", writeSpec(spec));
  if (state.compare) fields.append("compare", "1");
  fields.append("seed", String(state.seed));
  fields.append("temperature", String(state.temperature));
  if (state.topK > 0) fields.append("top_k", String(state.topK));
  if (state.topP < 1) fields.append("top_p", String(state.topP));
  fields.append("max_tokens", String(state.maxTokens));
  if (state.shade) fields.append("shade", writeShade(state.shade));
  if (state.view) fields.append(...writeView(state.view));
  return `#${fields}`;
}

/** The part of a state's link that determines its texts. @param {State} state */
export const runOf = (state) => toFragment({ ...state, shade: null, view: null });

/** The link to a feature, without a run. @param {string} hook @param {number} feature */
export const toFeature = (hook, feature) => `#${new URLSearchParams([writeView({ kind: "feature", hook, feature })])}`;

/** @param {View} view @returns {[name: string, value: string]} */
function writeView(view) {
  if (view.kind === "feature") return ["feature", `${view.hook}:${view.feature}`];
  const other = view.kind === "why" && view.other !== null ? `:${view.other}` : "";
  return [view.kind, `${view.text === 1 ? "unsteered:" : ""}${view.at}${other}`];
}

/** @param {string} name @param {string} value @returns {View | null} */
function parseView(name, value) {
  const forms = { feature: /^([^:\s]+):(\d{1,15})$/, token: /^(unsteered:)?(\d{1,9})$/, why: /^(unsteered:)?(\d{1,9})(?::(\d{1,9}))?$/ };
  const [, prefix = "", digits, other] = forms[/** @type {View["kind"]} */ (name)].exec(value) ?? [];
  if (digits === undefined) return null;
  const at = Number(digits);
  if (name === "feature") return { kind: "feature", hook: prefix, feature: at };
  const text = prefix ? 1 : 0;
  return name === "token" ? { kind: "token", text, at } : { kind: "why", text, at, other: other === undefined ? null : Number(other) };
}

/**
 * Parses a fragment into a state, and returns the parts that were not understood. Fragments are
 * untrusted: values out of range are ignored.
 * @param {string} fragment
 * @returns {{state: State, unknown: string[]}}
 */
export function fromFragment(fragment) {
  const state = initial();
  /** @type {string[]} */
  const unknown = [];
  const number = (/** @type {string} */ text, /** @type {number} */ least, /** @type {number} */ most, /** @type {number} */ otherwise) => {
    const value = text.trim() === "" ? NaN : Number(text);
    if (value >= least && value <= most) return value;
    unknown.push(text);
    return otherwise;
  };
  for (const [name, value] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    switch (name) {
      case "mode":
        if (value === "chat" || value === "story") state.mode = value;
        else unknown.push(value);
        break;
      case "prompt":
        state.prompt = value;
        break;
      case "system":
      case "user":
      case "assistant":
        state.messages.push({ role: name, content: value });
        break;
      case "steer": {
        const spec = parseSpec(value);
        if (spec) state.steer.push(spec);
        else unknown.push(value);
        break;
      }
      case "compare":
        if (value === "0" || value === "1") state.compare = value === "1";
        else unknown.push(value);
        break;
      case "seed":
        state.seed = Math.floor(number(value, 0, SEEDS - 1, state.seed));
        break;
      case "temperature":
        state.temperature = number(value, 0, 100, state.temperature);
        break;
      case "top_k":
        state.topK = Math.floor(number(value, 0, 1e9, state.topK));
        break;
      case "top_p":
        state.topP = number(value, 0, 1, state.topP);
        break;
      case "max_tokens":
        state.maxTokens = Math.floor(number(value, 1, 1e6, state.maxTokens));
        break;
      case "shade":
        state.shade = parseShade(value);
        if (!state.shade) unknown.push(value);
        break;
      case "feature":
      case "token":
      case "why":
        state.view = parseView(name, value);
        if (!state.view) unknown.push(value);
        break;
      default:
        unknown.push(name);
    }
  }
  return { state, unknown };
}
