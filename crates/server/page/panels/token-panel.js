import { bar, el, named, number, percent, shown } from "../view/dom.js";
import { title } from "./inspector.js";
import { label } from "../state/names.js";
import { place } from "../state/spec.js";
/** @import {About, Pair} from "../types.d.ts" */
/** @import {TokenText} from "../view/text.js" */

/** Number of features shown per layer before the list is expanded. */
const FEW = 6;

/**
 * The features of a token, deepest layer first, each with its activation in the other text if there is
 * one.
 * @param {TokenText} text
 * @param {number} at
 * @param {{text: TokenText, at: number} | null} beside
 * @param {About} about
 * @param {{feature: (hook: string, feature: number) => void, token: (text: TokenText, at: number) => void}} open
 * @param {Set<string>} wide hook points whose lists are expanded
 */
export function tokenPanel(text, at, beside, about, open, wide) {
  const token = text.tokens[at];
  const other = beside && beside.text.tokens[beside.at];
  // As in the texts, the steered one is warm and the default is cool.
  const [own, theirs] = beside && text.name.startsWith("Default") ? ["cool", "warm"] : ["warm", "cool"];
  const hooks = about.saes.map((sae) => sae.hook).filter((hook) => token.features[hook]);
  const step = (/** @type {number} */ to, /** @type {string} */ sign, /** @type {string} */ name) => el("button", { type: "button", class: "quiet", "aria-label": name, disabled: to < 0 || to >= text.tokens.length, onclick: () => open.token(text, to) }, sign);
  const panel = el("div", {},
    el("div", { class: "head" },
      title(el("span", { class: "token big" }, shown(token.token))),
      el("span", { class: "steps" }, step(at - 1, "←", "Previous token"), step(at + 1, "→", "Next token"))),
    el("p", { class: "hint" }, `${beside ? `${text.name.toLowerCase()}, ` : ""}${token.prompt ? "from the prompt" : "generated"} · position ${token.position} · token ${token.id}${token.logprob === undefined ? "" : ` · probability ${percent(Math.exp(token.logprob))}`}`),
    other && el("p", { class: "hint beside" }, el("i", { class: `swatch ${theirs}` }), `${beside.text.name} has here: `, el("button", { type: "button", class: "link token", onclick: () => open.token(beside.text, beside.at) }, shown(other.token))));
  if (hooks.length === 0) panel.append(el("p", { class: "hint" }, "No features were tracked at this token."));

  for (const hook of hooks.toReversed()) {
    const pairs = token.features[hook];
    const rest = new Map((other?.features[hook] ?? []).map(([index, value]) => [index, value]));
    const most = Math.max(1e-9, ...pairs.map(([, value]) => Math.abs(value)), ...[...rest.values()].map(Math.abs));
    const list = el("ol", { class: "features" });
    const draw = () => list.replaceChildren(...(wide.has(hook) ? pairs : pairs.slice(0, FEW)).map((pair) => row(hook, pair)));
    const row = (/** @type {string} */ of, /** @type {Pair} */ [index, value]) => {
      const name = label(of, index);
      const there = rest.get(index) ?? 0;
      const bars = el("span", { class: "bars", "aria-hidden": "true" }, bar(value, most, own), other && bar(there, most, theirs));
      return el("li", {}, el("button", { type: "button", onclick: () => open.feature(of, index) },
        bars, el("span", { class: "value" }, number(value)), el("span", { class: "index" }, `#${index}`), el("span", { class: name ? "label" : "label off" }, name ? named(name) : "no label", other && el("span", { class: "sr" }, `, in the other text ${number(there)}`))));
    };
    draw();
    const more = pairs.length > FEW && el("button", { type: "button", class: "link more", "aria-expanded": String(wide.has(hook)), onclick: (/** @type {Event} */ event) => {
      if (!wide.delete(hook)) wide.add(hook);
      draw();
      const button = /** @type {HTMLElement} */ (event.currentTarget);
      button.textContent = wide.has(hook) ? "Fewer" : `All ${pairs.length}`;
      button.setAttribute("aria-expanded", String(wide.has(hook)));
    } }, wide.has(hook) ? "Fewer" : `All ${pairs.length}`);
    panel.append(el("section", { class: "layer", "aria-label": place(hook) }, el("h3", { title: hook }, place(hook), more), pairs.length > 0 ? list : el("p", { class: "hint" }, "No active features.")));
  }
  return panel;
}
