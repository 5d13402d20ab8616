/** @import {Intervention, Shade} from "../types.d.ts" */

/** The operations with their descriptions, in the order of the menu. */
export const OPS = Object.freeze({
  add: { name: "add", hint: "add its direction" },
  multiply: { name: "multiply", hint: "strengthen or weaken it where it is active" },
  set: { name: "set", hint: "hold it at a value" },
  set_if_active: { name: "set if active", hint: "hold it where it is active" },
  ablate: { name: "ablate", hint: "switch it off" },
  orthogonal: { name: "orthogonal", hint: "replace the component along its direction" },
});

/** The positions at which an intervention can apply. */
export const PLACES = Object.freeze({
  text: "all text",
  all: "everything",
  prompt: "the prompt",
  generated: "generated text",
  last: "prompt’s last token",
});

const FORM = /^\s*([^:\s]+):(\d{1,15}):([a-z_]+)(?::([^:@[\s]+)(?::([a-z]+))?)?(?:\s*@\s*([a-z0-9.+]+))?(.*)$/s;

/**
 * Parses an intervention on a feature (docs/steering.md). Returns null for other interventions, for
 * example along a named vector.
 * @param {string} text
 * @returns {Intervention | null}
 */
export function parseSpec(text) {
  const [, hook, feature, op, value, scale, at, rest] = FORM.exec(text) ?? [];
  if (hook === undefined || !Object.hasOwn(OPS, op)) return null;
  const strength = op === "ablate" ? 0 : Number(value);
  if (!Number.isFinite(strength) || (op === "ablate") !== (value === undefined)) return null;
  return { hook, feature: Number(feature), op, value: strength, scale: scale ?? "raw", at: at ?? "text", rest: rest.trimEnd() };
}

/**
 * The written form of an intervention.
 * @param {Intervention} spec
 */
export function writeSpec({ hook, feature, op, value, scale, at, rest }) {
  const strength = op === "ablate" ? "" : `:${value}${scale === "raw" ? "" : `:${scale}`}`;
  const where = at === "text" && !rest.startsWith("[") ? "" : `@${at}`;
  return `${hook}:${feature}:${op}${strength}${where}${rest}`;
}

/**
 * Parses `HOOK:FEATURE`, or `HOOK` for the strongest feature at the hook point.
 * @param {string} text
 * @returns {Shade | null}
 */
export function parseShade(text) {
  const [, hook, feature] = /^([^:\s]+)(?::(\d{1,15}))?$/.exec(text) ?? [];
  return hook === undefined ? null : { hook, feature: feature === undefined ? null : Number(feature) };
}

/** @param {Shade} shade */
export const writeShade = ({ hook, feature }) => (feature === null ? hook : `${hook}:${feature}`);

/**
 * A short name for a hook point: `blocks.3.hook_resid_post` is `layer 3`, `blocks.3.hook_mlp_out` is
 * `layer 3 mlp_out`.
 * @param {string} hook
 */
export function place(hook) {
  const [, layer, rest] = /^blocks\.(\d+)\.(.+)$/.exec(hook) ?? [];
  if (layer === undefined) return hook;
  const name = rest.replace(/hook_/, "");
  return name === "resid_post" ? `layer ${layer}` : `layer ${layer} ${name}`;
}
