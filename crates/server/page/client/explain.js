import { nameOf } from "../state/names.js";
import { capital } from "../view/dom.js";
/** @import {State} from "../types.d.ts" */

/** The names of request fields on the page. */
const FIELDS = Object.freeze({
  max_tokens: "Tokens",
  max_completion_tokens: "Tokens",
  temperature: "Temperature",
  top_k: "Top-k",
  top_p: "Top-p",
  seed: "Seed",
  prompt: "Prompt",
  messages: "Messages",
});

/**
 * The server's words about a request, with the page's names for its fields. An intervention is named
 * by its feature.
 * @param {{message: string, param?: string | null}} error
 * @param {State | undefined} state
 */
export function explain({ message, param }, state) {
  if (!param) return capital(message);
  // The server begins with the path of the field.
  const rest = message.startsWith(`${param}: `) ? message.slice(param.length + 2) : message;
  const at = Number(/^nanoscope\.steer\[(\d+)\]/.exec(param)?.[1] ?? NaN);
  const spec = state?.steer[at];
  if (spec) return `Steering of ${nameOf(spec.hook, spec.feature).text} (${spec.hook} #${spec.feature}): ${rest}`;
  const [, name, index] = /^(\w+)(?:\[(\d+)\])?/.exec(param) ?? [];
  if (!Object.hasOwn(FIELDS, name)) return capital(rest);
  return `${FIELDS[/** @type {keyof typeof FIELDS} */ (name)]}${index === undefined ? "" : ` ${Number(index) + 1}`}: ${rest}`;
}
