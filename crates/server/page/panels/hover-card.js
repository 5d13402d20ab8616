import { $, el, number, percent, shown } from "../view/dom.js";
import { nameSpan } from "../view/name.js";
import { OFF, SURPRISE, activation, steeredTo } from "../view/shade.js";
import { place } from "../state/spec.js";
/** @import {About, Shade, Token} from "../types.d.ts" */
/** @import {TokenText} from "../view/text.js" */

/** Delay until the card of a token under the pointer is shown, in ms. */
const DELAY = 90;
/** Distance between a token and its card, in pixels. */
const GAP = 8;

/**
 * A card beside the token under the pointer or with the focus: its probability, a feature and its value, and
 * what else could have been written.
 */
export class HoverCard {
  #timer = 0;
  /** The token with the focus that the card describes. @type {Element | null} */
  #described = null;

  /**
   * @param {() => Shade} shade
   * @param {About} about
   */
  constructor(shade, about) {
    this.shade = shade;
    this.about = about;
    for (const moved of ["scroll", "resize"]) addEventListener(moved, () => this.hide(), { passive: true });
  }

  get open() {
    return !$("hover").hidden;
  }

  /**
   * @param {TokenText} text
   * @param {number} at
   */
  show(text, at) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const box = text.box(at);
      if (!box || (box.width === 0 && box.height === 0)) return;
      this.#describe(text);
      const card = $("hover");
      card.replaceChildren(...this.#content(text.tokens[at]));
      card.hidden = false;
      const { width, height } = card.getBoundingClientRect();
      const room = document.documentElement.clientWidth - width - GAP;
      const below = box.bottom + GAP + height < innerHeight;
      card.style.left = `${Math.max(GAP, Math.min(room, box.left))}px`;
      card.style.top = `${below ? box.bottom + GAP : Math.max(GAP, box.top - height - GAP)}px`;
    }, DELAY);
  }

  hide() {
    clearTimeout(this.#timer);
    $("hover").hidden = true;
    this.#describe(null);
  }

  /** Lets screen readers read the card with the token that has the focus. @param {TokenText | null} text */
  #describe(text) {
    this.#described?.removeAttribute("aria-describedby");
    const focused = text && document.activeElement;
    this.#described = focused?.matches(".t") && text?.element.contains(focused) ? focused : null;
    this.#described?.setAttribute("aria-describedby", "hover");
  }

  /** @param {Token} token */
  #content(token) {
    const chance = token.prompt ? "from the prompt" : token.logprob === undefined ? "generated" : `probability ${percent(Math.exp(token.logprob))}`;
    const others = (token.alternatives ?? []).slice(0, 4);
    return [
      el("p", { class: "line" }, el("span", { class: "token" }, shown(token.token)), el("span", { class: "hint" }, chance)),
      ...this.#features(token).map(({ hook, feature }) => {
        const after = steeredTo(token, hook, feature);
        const value = number(activation(token, hook, feature));
        return el("p", { class: "which" }, nameSpan(hook, feature), " ", el("span", { class: "value" }, after === undefined ? value : `${value} → ${number(after)}`), " ", el("span", { class: "hint" }, `${place(hook)} #${feature}${after === undefined ? "" : ", after steering"}`));
      }),
      ...(others.length > 0 ? [el("p", { class: "hint others" }, "Likely here: ", ...others.flatMap(([other, logprob], n) => [n > 0 ? " · " : "", el("span", { class: "token" }, shown(other)), ` ${percent(Math.exp(logprob))}`]))] : []),
    ];
  }

  /** The feature that shades the text, or the strongest ones of the token. @param {Token} token */
  #features(token) {
    const { hook, feature } = this.shade();
    if (feature !== null) return [{ hook, feature }];
    const at = hook === OFF || hook === SURPRISE ? this.about.saes.at(-1)?.hook ?? "" : hook;
    return (token.features[at] ?? []).slice(0, 2).map(([index]) => ({ hook: at, feature: index }));
  }
}
