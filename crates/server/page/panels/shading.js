import { $, el, named } from "../view/dom.js";
import { OFF, SURPRISE, strongest } from "../view/shade.js";
import { nameOf } from "../state/names.js";
import { parseShade, place, writeShade } from "../state/spec.js";
/** @import {About, Shade, State} from "../types.d.ts" */

/** Number of opened features that are offered. */
const MOST = 6;

/** The choice of what shades the text, and the legend's words about it. */
export class Shading {
  /** The features that were opened, the latest first. @type {Shade[]} */
  #opened = [];

  /**
   * @param {() => State} state
   * @param {About} about
   * @param {() => void} changed
   */
  constructor(state, about, changed) {
    this.state = state;
    this.about = about;
    this.changed = changed;
    $("shade").addEventListener("change", () => this.use(parseShade($("shade").value)));
  }

  /** The shading of the text. @returns {Shade} */
  get now() {
    return this.state().shade ?? { hook: OFF, feature: null };
  }

  /** True if the server has what a shading needs. @param {Shade} shade */
  has({ hook, feature }) {
    if (hook === OFF || hook === SURPRISE) return feature === null;
    return this.about.saes.some((sae) => sae.hook === hook && (feature ?? 0) < sae.d_sae);
  }

  /** @param {Shade | null} shade */
  use(shade) {
    this.state().shade = shade;
    this.draw();
    this.changed();
  }

  /** Offers a feature that was opened. @param {string} hook @param {number} feature */
  opened(hook, feature) {
    this.#opened = [{ hook, feature }, ...this.#opened.filter((one) => one.hook !== hook || one.feature !== feature)].slice(0, MOST);
    this.draw();
  }

  draw() {
    const { now } = this;
    const { shade, steer } = this.state();
    /** @type {Map<string, Shade>} */
    const seen = new Map();
    for (const one of [shade, ...steer, ...this.#opened]) if (one && one.feature !== null) seen.set(writeShade({ hook: one.hook, feature: one.feature }), one);
    const name = (/** @type {Shade} */ { hook, feature }) => `${named(nameOf(hook, feature ?? 0).text)} · ${place(hook)} #${feature}`;
    const option = (/** @type {string} */ value, /** @type {string} */ text) => el("option", { value }, text);
    const groups = [
      option(OFF, "nothing"),
      option(SURPRISE, "surprise: how improbable each token was"),
      ...(seen.size > 0 ? [el("optgroup", { label: "One feature" }, ...[...seen].map(([value, one]) => option(value, name(one))))] : []),
      ...(this.about.saes.length > 0 ? [el("optgroup", { label: "Strongest feature" }, ...this.about.saes.map(({ hook }) => option(hook, `strongest of ${place(hook)}`)).reverse())] : []),
    ];
    $("shade").replaceChildren(...groups);
    $("shade").value = writeShade(now);
    $("shade-hint").textContent = this.#hint(now);
  }

  /** @param {Shade} now */
  #hint(now) {
    if (now.hook === OFF) return this.about.saes.length > 0 ? "Click a word to see its features; each of them can shade the text by where it is active." : "Click a word to see its probability.";
    if (now.hook === SURPRISE) return "in nats: the darker, the less the model expected the token";
    if (strongest(now)) return "the value of each token’s strongest feature";
    return this.state().steer.some(({ hook, feature }) => hook === now.hook && feature === now.feature) ? "its activation; in the steered text, after steering" : "its activation at each token";
  }
}
