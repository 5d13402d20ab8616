/** @import {About, Intervention, Shade} from "../types.d.ts" */

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

/**
 * The name of a rule for positions that is not in the menu: `13..14` is one token.
 * @param {string} at
 */
export function placeName(at) {
  const [, from, to] = /^(\d+)\.\.(\d+)(?:\+special)?$/.exec(at) ?? [];
  return from !== undefined && Number(to) === Number(from) + 1 ? `position ${from}` : at;
}

/** The operations whose strength can be a share of the activation's norm. */
export const SCALED = Object.freeze(["add", "orthogonal"]);

const FORM = /^\s*(?:([^:\s]+):)?(\d{1,15}):([a-z_]+)(?::([^:@[\s]+)(?::([a-z]+))?)?(?:\s*@\s*([a-z0-9.+]+))?(.*)$/s;

/**
 * Parses an intervention on a feature (docs/steering.md). Returns null for other interventions, for
 * example along a named vector. The hook point may be left out; it is empty then.
 * @param {string} text
 * @returns {Intervention | null}
 */
export function parseSpec(text) {
  const [, hook = "", feature, op, written, scale, at, rest] = FORM.exec(text) ?? [];
  if (feature === undefined || !Object.hasOwn(OPS, op)) return null;
  const share = scale === undefined && SCALED.includes(op) && /^[^%]+%$/.test(written ?? "");
  const strength = op === "ablate" ? 0 : share ? tidy(Number(written.slice(0, -1)) / 100) : Number(written);
  if (!Number.isFinite(strength) || (op === "ablate") !== (written === undefined)) return null;
  return { hook, feature: Number(feature), op, value: strength, scale: share ? "norm" : scale ?? "raw", at: at ?? "text", rest: rest.trimEnd() };
}

/** Without the last digits of a binary fraction: 30, not 30.000000000000004. @param {number} value */
const tidy = (value) => Number(value.toPrecision(12));

/**
 * The written form of an intervention.
 * @param {Intervention} spec
 */
export function writeSpec({ hook, feature, op, value, scale, at, rest }) {
  const strength = op === "ablate" ? "" : `:${value}${scale === "raw" ? "" : `:${scale}`}`;
  const where = at === "text" && !rest.startsWith("[") ? "" : `@${at}`;
  return `${hook}${hook && ":"}${feature}:${op}${strength}${where}${rest}`;
}

/**
 * A strength as people read it: `30 %` of the norm, or a number, with its unit.
 * @param {Intervention} spec
 */
export const strength = ({ value, scale }) => (scale === "norm" ? `${tidy(value * 100)} %` : scale === "raw" ? String(value) : `${value} ${scale}`);

/** A share of the norm in percent. @param {number} share */
export const inPercent = (share) => tidy(share * 100);
/** The share of the norm that a number of percent is. @param {number} value */
export const fromPercent = (value) => tidy(value / 100);

/**
 * The name of the hook point that `hook` refers to: the deepest SAE's for an empty one, that of the SAE
 * for an SAE's id.
 * @param {string} hook
 * @param {About} about
 */
export function resolve(hook, about) {
  if (hook === "") return about.saes.at(-1)?.hook ?? "";
  return about.saes.find(({ source }) => source === hook)?.hook ?? hook;
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
