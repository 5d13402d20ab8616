import { bar, el, percent, shown } from "../view/dom.js";
import { nameSpan } from "../view/name.js";
import { signed } from "../state/causes.js";
import { nameOf } from "../state/names.js";
import { place } from "../state/spec.js";
/** @import {Cause, Candidate, Causes} from "../types.d.ts" */
/** @import {Acts, Question} from "./why.js" */

/** Number of causes shown before the list is expanded. */
const FEW = 8;
/** The key of the list among those that are expanded. */
const LIST = "causes";

/** @param {string} text */
const token = (text) => el("span", { class: "token quoted" }, shown(text));

/**
 * A question in words, for the title.
 * @param {Question} question
 * @param {string} name the text of the alternative; empty until the answer has it
 * @returns {(Node | string)[]}
 */
export function subject({ tokens, other }, name) {
  const text = other === null ? tokens[tokens.length - 1].token : name;
  return [other === null ? "Why " : "Why not ", text === "" ? "the other token" : token(text), "?"];
}

/**
 * The answer: the causes of a token, what they leave unexplained, the likeliest tokens, and the prediction by layer.
 * @param {Question} question
 * @param {Causes} causes
 * @param {Acts} act
 * @param {Set<string>} wide lists that are expanded
 * @returns {Node[]}
 */
export function answer(question, causes, act, wide) {
  return [sentence(causes), list(question, causes, act, wide), unexplained(causes), candidates(question, causes, act), ...lens(causes)];
}

/** @param {Causes} causes */
function sentence({ target, contrast, metric }) {
  const has = (/** @type {Candidate} */ { logprob }) => el("span", { class: "one" }, percent(Math.exp(logprob)));
  if (!contrast) return el("p", { class: "sentence" }, token(target.text), " has ", has(target), ".");
  return el("p", { class: "sentence" },
    token(target.text), " rather than ", token(contrast.text), `: logit difference ${signed(metric.value)}; `,
    token(target.text), " has ", has(target), ", ", token(contrast.text), " ", has(contrast), ".");
}

/**
 * @param {Question} question
 * @param {Causes} causes
 * @param {Acts} act
 * @param {Set<string>} wide
 */
function list(question, { features, found, target }, act, wide) {
  const most = Math.max(1e-9, ...features.flatMap(({ attribution, ablation }) => [Math.abs(attribution), Math.abs(ablation ?? 0)]));
  const rows = el("ol", { class: "features causes" });
  const draw = () => rows.replaceChildren(...(wide.has(LIST) ? features : features.slice(0, FEW)).map((cause) => row(cause, question, most, act)));
  const words = () => (wide.has(LIST) ? "Fewer" : `All ${features.length}`);
  draw();
  const more = features.length > FEW && el("button", { type: "button", class: "link more", "aria-expanded": String(wide.has(LIST)), onclick: (/** @type {Event} */ event) => {
    if (!wide.delete(LIST)) wide.add(LIST);
    draw();
    const button = /** @type {HTMLElement} */ (event.currentTarget);
    button.textContent = words();
    button.setAttribute("aria-expanded", String(wide.has(LIST)));
  } }, words());
  const differ = features.some(({ disagrees }) => disagrees);
  return el("section", { "aria-label": "Causes" },
    el("h3", {}, "Causes ", el("span", { class: "hint" }, `${features.length} of ${found.toLocaleString("en")} active features`), more),
    el("p", { class: "hint" }, "Right: for ", token(target.text), "; left: against it. The number is the attribution by gradient, and ", el("b", {}, "exact"), " how much the logit difference falls when that feature is turned off there."),
    rows,
    differ && el("p", { class: "hint", id: "differs-means" }, el("span", { class: "warn" }, "≠"), " The two numbers have opposite signs, or one is more than twice the other. The exact one is right; the gradient is an estimate."),
    el("p", { class: "hint", id: "off-means" }, consequence(question, act.interventions.length > 0)));
}

/**
 * The consequences of turning a feature off, in words.
 * @param {Question} question
 * @param {boolean} others true if there are interventions already
 */
function consequence({ text, at }, others) {
  const asked = text.tokens[at];
  const same = "“Turn this off and rerun” turns the feature off at that one token and generates again, with the same prompt, sampling and seed.";
  const after = asked.prompt ? ` The prompt stays, and ${shown(asked.token)} in it; the generated text may change.` : ` The text up to that token stays. Every generated token after it may change, also those before ${shown(asked.token)}.`;
  return `${same}${after}${others && !asked.prompt ? " The interventions in the list stay on, so the text may have another token at that position." : ""}`;
}

/**
 * @param {Cause} cause
 * @param {Question} question
 * @param {number} most
 * @param {Acts} act
 */
function row(cause, { tokens }, most, act) {
  const { hook, feature, position, attribution, ablation, disagrees, steer } = cause;
  const at = shown(tokens[position].token);
  const off = act.interventions.includes(steer);
  const words = off ? "Turn this on again" : "Turn this off and rerun";
  const exact = ablation !== undefined && ["exact ", el("span", { class: "number" }, signed(ablation)), disagrees && el("span", { class: "warn", role: "img", "aria-label": ", differs from the estimate", title: "The two numbers differ much" }, " ≠")];
  return el("li", { class: attribution < 0 ? "against" : "for" },
    el("button", { type: "button", title: "Show this feature", onclick: () => act.feature(hook, feature) },
      el("span", { class: "bars", "aria-hidden": "true" }, signedBar(attribution, most), ablation !== undefined && signedBar(ablation, most)),
      el("span", { class: "value" }, signed(attribution)),
      el("span", { class: "names" }, nameSpan(hook, feature), el("span", { class: "after" }, `${place(hook)} #${feature}`))),
    el("p", { class: "after" },
      el("span", {}, "at ", el("button", { type: "button", class: "link token", title: "Show this token", onclick: () => act.token(position) }, at)),
      exact && el("span", {}, ...exact.filter((part) => part !== undefined && part !== false)),
      el("button", { type: "button", class: "link toggle", "data-keep": steer, "aria-describedby": "off-means", "aria-label": `${words}: ${nameOf(hook, feature).text}, ${place(hook)}, at ${at}`, onclick: () => act.turn(steer) }, words)));
}

/**
 * A bar from the middle, to the right if `value` is positive and to the left if it is negative.
 * @param {number} value
 * @param {number} most
 */
function signedBar(value, most) {
  const track = bar(value / 2, most, value < 0 ? "down" : "up");
  track.classList.add("signed");
  return track;
}

/** @param {Causes} causes */
function unexplained({ hooks }) {
  return el("section", { "aria-label": "Not explained" }, el("h3", {}, "Not explained"), el("ul", { class: "unexplained" }, ...hooks.map(({ hook, error_share }) => el("li", { title: hook },
    bar(error_share, 1, "cool"), el("span", {}, `The SAE of ${place(hook)} leaves ${Math.round(error_share * 100)} % unexplained.`)))));
}

/**
 * The likeliest tokens. Each of them asks why it was not written.
 * @param {Question} question
 * @param {Causes} causes
 * @param {Acts} act
 */
function candidates({ tokens, other }, { alternatives, target, contrast }, act) {
  const written = tokens[tokens.length - 1];
  const all = [...alternatives];
  for (const one of [target, contrast]) if (one && !all.some(({ id }) => id === one.id)) all.push(one);
  const most = Math.max(...all.map(({ logprob }) => Math.exp(logprob)));
  return el("section", { "aria-label": "Likely here" }, el("h3", {}, "Likely here ", el("span", { class: "hint" }, "choose one to ask why not")),
    el("ol", { class: "logits asks" }, ...all.map(({ id, text, logprob }) => {
      const own = id === written.id;
      const now = id === (other ?? written.id);
      return el("li", { class: own ? "taken" : null }, el("button", { type: "button", "aria-current": now ? "true" : null, "data-keep": `token ${id}`, onclick: () => act.ask(own ? null : id) },
        bar(Math.exp(logprob), most, "up"), el("span", { class: "token" }, shown(text)), el("span", { class: "value" }, own && el("span", { class: "hint" }, "written "), percent(Math.exp(logprob)))));
    })));
}

/** The likeliest tokens by layer. @param {Causes} causes @returns {Node[]} */
function lens({ lens: readings, target }) {
  if (!readings || readings.length === 0) return [];
  const head = (/** @type {(Node | string)[]} */ ...content) => el("th", { scope: "col" }, ...content);
  return [el("section", { "aria-label": "Logit lens" }, el("h3", {}, "Logit lens ", el("span", { class: "hint" }, "the prediction after each layer")),
    el("table", { class: "lens" },
      el("thead", {}, el("tr", {}, head("after"), head(token(target.text)), head("likeliest"))),
      el("tbody", {}, ...readings.map(({ hook, top, target: chance }) => el("tr", {},
        el("th", { scope: "row", title: hook }, place(hook)),
        el("td", { class: "value" }, percent(chance)),
        el("td", {}, ...top.flatMap(([, text, probability], n) => [n > 0 ? ", " : "", el("span", { class: "one" }, el("span", { class: "token" }, shown(text)), ` ${percent(probability)}`)])))))))];
}
