/** @import {About, Pair, RecordedText, Recording, Token} from "../types.d.ts" */

/** Distinguishes an exported run from other JSON. */
const FORMAT = "nanoscope run";
/** Maximum number of tokens of a text that is opened. */
const MOST_TOKENS = 100_000;

/**
 * The content of a run's file, with a line for each token.
 * @param {Recording} run
 */
export function writeRecording({ texts, ...run }) {
  const head = JSON.stringify({ format: FORMAT, ...run }, null, 1).replace(/\n\}$/, "");
  const token = (/** @type {Token} */ { position, id, token, piece, prompt, logprob, alternatives, features, steered }) => JSON.stringify({ position, token_id: id, token, text: piece, prompt, logprob, alternatives, steered_features: steered, features: Object.fromEntries(Object.entries(features).map(([hook, pairs]) => [hook, pairs.map(([index, value]) => [index, value])])) });
  const text = (/** @type {RecordedText} */ { tokens, ...rest }) => `  {\n   ${JSON.stringify({ ...rest, text: written(tokens) }).slice(1, -1)},\n   "tokens": [\n${tokens.map((one) => `    ${token(one)}`).join(",\n")}\n   ]\n  }`;
  return `${head},\n "texts": [\n${texts.map(text).join(",\n")}\n ]\n}\n`;
}

/** @param {Token[]} tokens */
const written = (tokens) => tokens.filter((token) => !token.prompt).map((token) => token.piece).join("");

/**
 * Reads a run's file, which may come from anyone.
 * @param {string} text
 * @returns {Recording}
 * @throws {Error} that says what is wrong
 */
export function readRecording(text) {
  /** @type {any} */
  let run;
  try {
    run = JSON.parse(withoutPage(text).replace(/^\ufeff/, ""));
  } catch {
    throw new Error("it is not JSON");
  }
  if (run?.format !== FORMAT) throw new Error("it is not a run that this page has exported");
  check(Array.isArray(run.texts) && run.texts.length >= 1 && run.texts.length <= 2, "`texts` must have one text or two");
  check(typeof run.link === "string" && run.link.startsWith("#"), "`link` must be the fragment of a link");
  return {
    nanoscope: String(run.nanoscope ?? ""),
    model: String(run.model ?? ""),
    link: run.link,
    finished: run.finished === true,
    request: run.request,
    labels: names(run.labels ?? {}),
    automatic_names: names(run.automatic_names ?? {}),
    texts: run.texts.map(recordedText),
  };
}

/** The run in a page that was made of it; other texts unchanged. @param {string} text */
function withoutPage(text) {
  return /<script type="application\/json" id="run">([\s\S]*?)<\/script>/.exec(text)?.[1] ?? text;
}

/** @param {any} text @returns {RecordedText} */
function recordedText(text) {
  check(Array.isArray(text?.tokens) && text.tokens.length <= MOST_TOKENS, "`tokens` must be a list");
  const string = (/** @type {unknown} */ value) => (typeof value === "string" ? value : undefined);
  const applied = Array.isArray(text.applied) ? text.applied.filter((/** @type {any} */ one) => [one?.positions, one?.changed, one?.moved].every(Number.isFinite)) : undefined;
  const fluency = Number.isFinite(text.fluency?.nll) ? { nll: text.fluency.nll, unsteered_nll: finite(text.fluency.unsteered_nll), ratio: finite(text.fluency.ratio) } : undefined;
  return { steered: text.steered === true, tokens: text.tokens.map(recordedToken), finish: string(text.finish), end: string(text.end), applied, fluency, reused: Number.isFinite(text.reused) ? text.reused : undefined };
}

/** @param {unknown} value @returns {number | undefined} */
const finite = (value) => (typeof value === "number" && Number.isFinite(value) ? value : undefined);

/** @param {any} token @param {number} at @returns {Token} */
function recordedToken(token, at) {
  const ok = Number.isInteger(token?.position) && Number.isInteger(token.token_id) && typeof token.token === "string" && typeof token.text === "string" && (token.logprob === undefined || Number.isFinite(token.logprob));
  check(ok, `token ${at} is not complete`);
  /** @type {Record<string, Pair[]>} */
  const features = {};
  for (const [hook, pairs] of Object.entries(token.features ?? {})) {
    check(Array.isArray(pairs) && pairs.every((pair) => Array.isArray(pair) && Number.isInteger(pair[0]) && pair[0] >= 0 && Number.isFinite(pair[1])), `token ${at} has a feature that is not [index, activation]`);
    features[hook] = pairs.map((/** @type {Pair} */ [index, value]) => [index, value]);
  }
  const numbered = (/** @type {any} */ pairs, /** @type {(first: any) => boolean} */ ok) => Array.isArray(pairs) && pairs.every((pair) => Array.isArray(pair) && ok(pair[0]) && Number.isFinite(pair[1]));
  const alternatives = token.alternatives;
  check(alternatives === undefined || numbered(alternatives, (text) => typeof text === "string"), `token ${at} has an alternative that is not [text, logprob]`);
  const steered = token.steered_features;
  check(steered === undefined || (typeof steered === "object" && steered !== null && Object.values(steered).every((pairs) => numbered(pairs, Number.isInteger))), `token ${at} has a steered feature that is not [index, activation]`);
  return { position: token.position, id: token.token_id, token: token.token, piece: token.text, prompt: token.prompt === true, logprob: token.logprob, alternatives, features, steered };
}

/** @param {any} found @returns {Recording["labels"]} */
function names(found) {
  /** @type {Recording["labels"]} */
  const out = {};
  for (const [hook, some] of Object.entries(found)) {
    check(typeof some === "object" && some !== null && Object.values(some).every((name) => typeof name === "string"), "`labels` must have texts");
    out[hook] = { ...some };
  }
  return out;
}

/**
 * @param {boolean} ok
 * @param {string} wrong
 */
function check(ok, wrong) {
  if (!ok) throw new Error(wrong);
}

/**
 * The names of the features that occur in some texts.
 * @param {Token[][]} texts
 * @param {(hook: string, feature: number) => string} naming
 * @param {number} strongest only this many features per token and hook point, and those that are steered
 */
export function namesOf(texts, naming, strongest = Infinity) {
  /** @type {Recording["labels"]} */
  const out = {};
  for (const token of texts.flat()) {
    for (const [hook, pairs] of Object.entries(token.features)) {
      for (const [index] of [...pairs.slice(0, strongest), ...(token.steered?.[hook] ?? [])]) {
        const name = naming(hook, index);
        if (name) (out[hook] ??= {})[index] = name;
      }
    }
  }
  return out;
}

/** The name of a run's file. @param {{mode: string, seed: number}} state @param {string} ending */
export const fileName = ({ mode, seed }, ending = "json") => `nanoscope-${mode}-${seed}.${ending}`;

/**
 * Describes the difference between a run's model and the server's, for the person who opens the run.
 * @param {Recording} run
 * @param {About} about
 */
export function madeElsewhere({ model, nanoscope }, about) {
  if (model !== about.name) return `It was made with the model ${model || "of an unknown name"}; this server has ${about.name}.`;
  if (nanoscope !== about.version) return `It was made with version ${nanoscope || "unknown"}; this is ${about.version}.`;
  return "";
}
