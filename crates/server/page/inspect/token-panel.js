import { bar, el, number, percent, shown } from "../view/dom.js";
import { copyButton } from "../view/copy.js";
import { nameSpan } from "../view/name.js";
import { activation, steeredTo } from "../view/shade.js";
import { layer } from "./feature-rows.js";
import { title } from "./inspector.js";
/** @import {About, Pair, Token} from "../types.d.ts" */
/** @import {TokenText} from "../view/text.js" */

/**
 * The features of a token, deepest layer first, each with its activation in the other text if there is
 * one, and after steering if it is steered.
 * @param {TokenText} text
 * @param {number} at
 * @param {{text: TokenText, at: number} | null} beside
 * @param {About} about
 * @param {{feature: (hook: string, feature: number) => void, token: (text: TokenText, at: number) => void, why: () => void, obstacle: string, link: (() => string) | null}} open the link is null if no link leads to the token; `obstacle` is the reason why its causes cannot be computed
 * @param {Set<string>} wide hook points whose lists are expanded
 */
export function tokenPanel(text, at, beside, about, open, wide) {
  const token = text.tokens[at];
  const other = beside && beside.text.tokens[beside.at];
  // As in the texts, the steered one is warm and the unsteered one is cool.
  const [own, theirs] = beside && text.name.startsWith("Unsteered") ? ["cool", "warm"] : ["warm", "cool"];
  const hooks = about.saes.map((sae) => sae.hook).filter((hook) => token.features[hook]);
  const step = (/** @type {number} */ to, /** @type {string} */ sign, /** @type {string} */ name) => el("button", { type: "button", class: "quiet", "aria-label": name, disabled: to < 0 || to >= text.tokens.length, onclick: () => open.token(text, to) }, sign);
  const panel = el("div", {},
    el("div", { class: "head" },
      title(el("span", { class: "token big" }, shown(token.token))),
      el("span", { class: "steps" }, step(at - 1, "←", "Previous token"), step(at + 1, "→", "Next token"))),
    el("p", { class: "hint" }, `${beside ? `${text.name.toLowerCase()}, ` : ""}${token.prompt ? "from the prompt" : "generated"} · position ${token.position} · token ${token.id}${token.logprob === undefined ? "" : ` · probability ${percent(Math.exp(token.logprob))}`}`),
    other && el("p", { class: "hint beside" }, el("i", { class: `swatch ${theirs}` }), `${beside.text.name} has here: `, el("button", { type: "button", class: "link token", onclick: () => open.token(beside.text, beside.at) }, shown(other.token))),
    el("div", { class: "acts" }, el("button", { type: "button", class: "main", disabled: open.obstacle !== "", "aria-describedby": open.obstacle === "" ? null : "why-not", "data-keep": "why", onclick: open.why }, "Why this token?"), open.obstacle !== "" && el("p", { class: "hint", id: "why-not" }, open.obstacle)),
    alternatives(token));
  if (hooks.length === 0) panel.append(el("p", { class: "hint" }, about.saes.length === 0 ? "This server has no SAE, so tokens have no features here." : "No features were tracked at this token."));

  for (const hook of hooks.toReversed()) {
    const pairs = shownPairs(token, hook);
    const rest = new Map((other?.features[hook] ?? []).map(([index, value]) => [index, value]));
    const most = Math.max(1e-9, ...pairs.map(([, value]) => Math.abs(value)), ...[...rest.values()].map(Math.abs));
    panel.append(layer(hook, pairs, ([index, value]) => {
      const there = rest.get(index) ?? 0;
      const after = steeredTo(token, hook, index);
      const bars = el("span", { class: "bars", "aria-hidden": "true" }, bar(value, most, own), other && bar(there, most, theirs));
      const steered = after !== undefined && el("span", { class: "after" }, `steered: ${number(value)} → ${number(after)}`);
      return el("li", {}, el("button", { type: "button", onclick: () => open.feature(hook, index) },
        bars, el("span", { class: "value" }, number(value)), el("span", { class: "index" }, `#${index}`), el("span", { class: "names" }, nameSpan(hook, index), steered, other && el("span", { class: "sr" }, `, in the other text ${number(there)}`))));
    }, wide));
  }
  if (open.link) panel.append(el("div", { class: "acts" }, ...copyButton("Copy link to this token", open.link)));
  return panel;
}

/**
 * The features at a hook point; steered ones first, also those that are not active without steering.
 * @param {Token} token
 * @param {string} hook
 * @returns {Pair[]}
 */
function shownPairs(token, hook) {
  const steered = new Set((token.steered?.[hook] ?? []).map(([index]) => index));
  const first = [...steered].map((index) => /** @type {Pair} */ ([index, activation(token, hook, index)]));
  return [...first, ...token.features[hook].filter(([index]) => !steered.has(index))];
}

/**
 * The most probable tokens at a token's place, and the token itself if it is not one of them.
 * @param {Token} token
 */
function alternatives({ alternatives: some, token, logprob }) {
  if (!some || some.length === 0) return null;
  const all = logprob === undefined || some.some(([text]) => text === token) ? some : [...some, /** @type {[string, number]} */ ([token, logprob])];
  const most = Math.exp(all[0][1]);
  return el("section", { "aria-label": "Alternatives" }, el("h3", {}, "Likely here"), el("ol", { class: "logits" }, ...all.map(([text, log]) => el("li", { class: text === token ? "taken" : null },
    bar(Math.exp(log), most, "up"), el("span", { class: "token" }, shown(text)), el("span", { class: "value" }, text === token && el("span", { class: "hint" }, "written "), percent(Math.exp(log)))))));
}
