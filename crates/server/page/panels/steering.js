import { $, el } from "../view/dom.js";
import { nameSpan } from "../view/name.js";
import { effectInWords, fluencyInWords } from "../state/effect.js";
import { nameOf, onRename } from "../state/names.js";
import { OPS, PLACES, place, placeName, writeSpec } from "../state/spec.js";
import { Strength, initialStrength } from "./strength.js";
/** @import {About, Applied, Fluency, Intervention, State, Token} from "../types.d.ts" */

/**
 * The list of interventions, which edits `state.steer`. On narrow screens the sliders are repeated below the text
 * while the list is out of view.
 */
export class Steering {
  /** The effect of each intervention in the last run. @type {WeakMap<Intervention, Applied>} */
  #effects = new WeakMap();
  /** The controls of each intervention's strength. @type {Map<Intervention, Strength[]>} */
  #strengths = new Map();

  /**
   * @param {() => State} state
   * @param {About} about
   * @param {{changed: () => void, slid: () => void, open: (hook: string, feature: number) => void}} owner
   */
  constructor(state, about, owner) {
    this.state = state;
    this.about = about;
    this.owner = owner;
    onRename(() => this.draw());
    new IntersectionObserver((entries) => {
      const { isIntersecting, boundingClientRect } = /** @type {IntersectionObserverEntry} */ (entries.at(-1));
      document.body.classList.toggle("docked", !isIntersecting && boundingClientRect.top < 0);
    }).observe($("specs"));
    // The page ends above the sliders.
    new ResizeObserver(() => document.body.style.setProperty("--dock", `${$("dock").offsetHeight}px`)).observe($("dock"));
  }

  /**
   * Adds an intervention, by default one that turns a feature up.
   * @param {string} hook
   * @param {number} feature
   * @param {Intervention | null} spec
   */
  add(hook, feature, spec = null) {
    const { steer } = this.state();
    const here = spec !== null && !Object.hasOwn(PLACES, spec.at);
    const same = steer.findIndex((one) => one.hook === hook && one.feature === feature && one.op === (spec?.op ?? "add") && (!here || one.at === spec.at));
    const added = spec ?? { hook, feature, op: "add", ...initialStrength(this.about, hook, feature, "add"), at: "text", rest: "" };
    // The same feature is not steered twice, except at different tokens.
    if (same >= 0) steer[same] = added;
    else steer.push(added);
    this.draw();
    this.owner.changed();
  }

  /** Removes an intervention. Returns false if there is none of the written form. @param {string} written */
  drop(written) {
    const { steer } = this.state();
    const at = steer.findIndex((spec) => writeSpec(spec) === written);
    if (at < 0) return false;
    steer.splice(at, 1);
    this.draw();
    this.owner.changed();
    return true;
  }

  draw() {
    const { steer } = this.state();
    this.#strengths = new Map();
    $("specs").replaceChildren(...steer.map((spec, at) => this.#row(spec, at)));
    $("dock").replaceChildren(...steer.map((spec) => el("div", { class: "docked-spec" }, nameSpan(spec.hook, spec.feature), this.#strength(spec).element)));
    $("steer-count").textContent = steer.length > 0 ? String(steer.length) : "";
    $("no-steer").hidden = steer.length > 0;
    $("dock").hidden = steer.length === 0;
    if (steer.length === 0) this.#fluency(undefined);
  }

  /** Hides the effect of the run before, in its place, while a text of another run grows. */
  begun() {
    $("steering").classList.add("begun");
  }

  /**
   * Shows the effect of the run under each intervention, and the fluency of its text.
   * @param {Applied[] | undefined} applied
   * @param {Fluency} [fluency]
   * @param {Token[]} tokens those of the steered text
   */
  report(applied, fluency, tokens = []) {
    $("steering").classList.remove("begun");
    this.#effects = new WeakMap();
    for (const [at, spec] of this.state().steer.entries()) {
      const effect = applied?.[at];
      if (effect) this.#effects.set(spec, effect);
      const row = $("specs").children[at]?.querySelector(".applied");
      if (row) row.textContent = effectInWords(effect);
    }
    this.#fluency(applied && applied.length > 0 ? fluency : undefined, tokens);
  }

  /** @param {Fluency | undefined} fluency @param {Token[]} tokens */
  #fluency(fluency, tokens = []) {
    const line = $("fluency");
    line.hidden = !fluency;
    if (!fluency) return;
    const { words, broken } = fluencyInWords(fluency, tokens);
    line.textContent = words;
    line.classList.toggle("broken", broken);
  }

  /** @param {Intervention} spec */
  #strength(spec) {
    const all = this.#strengths.get(spec) ?? [];
    const one = new Strength(spec, this.about, subject(spec), () => {
      for (const other of all) if (other !== one) other.fit();
      this.owner.slid();
    });
    all.push(one);
    this.#strengths.set(spec, all);
    return one;
  }

  /**
   * @param {Intervention} spec
   * @param {number} at
   */
  #row(spec, at) {
    const kind = el("select", { "aria-label": `Operation on ${subject(spec)}` }, ...Object.entries(OPS).map(([op, { name: text, hint }]) => el("option", { value: op, title: hint }, text)));
    kind.value = spec.op;
    const places = Object.hasOwn(PLACES, spec.at) ? PLACES : { ...PLACES, [spec.at]: placeName(spec.at) };
    const where = el("select", { "aria-label": `Positions for ${subject(spec)}` }, ...Object.entries(places).map(([value, text]) => el("option", { value }, text)));
    where.value = spec.at;
    const strength = this.#strength(spec);
    kind.addEventListener("change", () => {
      spec.op = kind.value;
      Object.assign(spec, initialStrength(this.about, spec.hook, spec.feature, spec.op));
      for (const one of this.#strengths.get(spec) ?? []) one.fit();
      this.owner.changed();
    });
    where.addEventListener("change", () => {
      spec.at = where.value;
      this.owner.changed();
    });
    const remove = () => {
      this.state().steer.splice(at, 1);
      this.draw();
      this.owner.changed();
      const next = $("specs").children[Math.min(at, this.state().steer.length - 1)];
      (next?.querySelector(".remove") ?? $("steering").querySelector("input"))?.focus();
    };
    return el("li", { class: "spec" },
      el("button", { type: "button", class: "name", title: "Show this feature", onclick: () => this.owner.open(spec.hook, spec.feature) }, nameSpan(spec.hook, spec.feature), el("span", { class: "hint" }, `${place(spec.hook)} #${spec.feature}${spec.rest}`)),
      kind, strength.element, where,
      el("button", { type: "button", class: "quiet remove", "aria-label": `Remove ${subject(spec)}`, onclick: remove }, "×"),
      el("p", { class: "hint applied" }, effectInWords(this.#effects.get(spec))));
  }
}

/** @param {Intervention} spec */
const subject = ({ hook, feature }) => `${nameOf(hook, feature).text}, ${place(hook)}`;
