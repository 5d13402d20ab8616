import { bar, count, el, number, shown } from "../view/dom.js";
import { nameSpan } from "../view/name.js";
import { mostActive } from "../state/active.js";
import { layer } from "./feature-rows.js";
import { title } from "./inspector.js";
/** @import {About} from "../types.d.ts" */
/** @import {TokenText} from "../view/text.js" */

/**
 * The most active features of a text, or of some of its tokens.
 * @param {TokenText} text
 * @param {Set<number> | null} chosen the positions of the tokens; null for all
 * @param {boolean} named true if the text has to be told from another one
 * @param {About} about
 * @param {{feature: (hook: string, feature: number) => void, token: (at: number) => void}} open
 * @param {Set<string>} wide hook points whose lists are expanded
 */
export function activePanel(text, chosen, named, about, open, wide) {
  const found = mostActive(text.tokens, (at) => chosen === null || chosen.has(at));
  const quote = chosen === null ? "" : text.tokens.filter((_, at) => chosen.has(at)).map(({ piece }) => piece).join("").trim();
  const hooks = about.saes.map(({ hook }) => hook).filter((hook) => found.get(hook));
  const panel = el("div", {},
    el("div", { class: "head" }, title(`Most active features of ${chosen !== null ? "the selection" : named ? `the ${text.name.toLowerCase()} text` : "this text"}`)),
    chosen !== null && el("p", { class: "quote" }, `“${quote.length > 120 ? `${quote.slice(0, 120)}…` : quote}”`),
    el("p", { class: "hint" }, "By the sum of their activations. The value is the highest activation. Features that are active at most tokens of the text come last."));
  if (hooks.length === 0) panel.append(el("p", { class: "hint" }, "No features were tracked in this text."));
  for (const hook of hooks.toReversed()) {
    const features = found.get(hook) ?? [];
    const most = Math.max(1e-9, ...features.map(({ total }) => total));
    panel.append(layer(hook, features, ({ index, total, max, tokens, at, common }) => el("li", {},
      el("button", { type: "button", onclick: () => open.feature(hook, index) },
        el("span", { class: "bars", "aria-hidden": "true" }, bar(total, most, "warm")), el("span", { class: "value" }, number(max)), el("span", { class: "index" }, `#${index}`), nameSpan(hook, index)),
      el("p", { class: "after peak" }, `at ${count(tokens, "token")}${common ? ", active nearly everywhere" : ""}, most at `,
        el("button", { type: "button", class: "link token", title: "Show this token", onclick: () => open.token(at) }, shown(text.tokens[at].token)))), wide));
  }
  return panel;
}
