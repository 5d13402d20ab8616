import { $, count, el, named, percent } from "../view/dom.js";
import { high, label, onRename } from "../state/names.js";
import { OPS, PLACES, place } from "../state/spec.js";
/** @import {Applied, Intervention, State} from "../types.d.ts" */

/** The assumed maximum activation of a feature that has not been seen active. */
const TYPICAL = 20;

/** @param {number} value */
const tidy = (value) => Number(value.toPrecision(2));

/**
 * The list of interventions, which edits `state.steer`.
 */
export class Steering {
  /** The effect of each intervention in the last run. @type {WeakMap<Intervention, Applied>} */
  #effects = new WeakMap();

  /**
   * @param {() => State} state
   * @param {{changed: () => void, open: (hook: string, feature: number) => void}} owner
   */
  constructor(state, owner) {
    this.state = state;
    this.owner = owner;
    onRename(() => this.draw());
  }

  /**
   * Adds an intervention that pushes a feature slightly beyond its maximum activation.
   * @param {string} hook
   * @param {number} feature
   */
  add(hook, feature) {
    const value = tidy(1.2 * (high(hook, feature) || TYPICAL));
    this.state().steer.push({ hook, feature, op: "add", value, scale: "raw", at: "text", rest: "" });
    this.draw();
    this.owner.changed();
  }

  draw() {
    const { steer } = this.state();
    $("specs").replaceChildren(...steer.map((spec, at) => this.#row(spec, at)));
    $("steer-count").textContent = steer.length > 0 ? String(steer.length) : "";
    $("no-steer").hidden = steer.length > 0;
  }

  /**
   * Shows the effect of the run under each intervention.
   * @param {Applied[] | undefined} applied
   */
  report(applied) {
    this.#effects = new WeakMap();
    for (const [at, spec] of this.state().steer.entries()) {
      const effect = applied?.[at];
      if (effect) this.#effects.set(spec, effect);
      const row = $("specs").children[at]?.querySelector(".applied");
      if (row) row.textContent = describe(effect);
    }
  }

  /**
   * @param {Intervention} spec
   * @param {number} at
   */
  #row(spec, at) {
    const name = label(spec.hook, spec.feature);
    const subject = `${name || `feature ${spec.feature}`}, ${place(spec.hook)}`;
    const kind = el("select", { "aria-label": `Operation on ${subject}` }, ...Object.entries(OPS).map(([op, { name: text, hint }]) => el("option", { value: op, title: hint }, text)));
    kind.value = spec.op;
    const places = Object.hasOwn(PLACES, spec.at) ? PLACES : { ...PLACES, [spec.at]: spec.at };
    const where = el("select", { "aria-label": `Positions for ${subject}` }, ...Object.entries(places).map(([value, text]) => el("option", { value }, text)));
    where.value = spec.at;
    const slider = el("input", { type: "range", "aria-label": `Strength of ${subject}` });
    const box = el("input", { type: "number", step: "any", "aria-label": `Strength of ${subject}, as a number` });
    const strength = el("span", { class: "strength" }, slider, box);
    const fit = () => {
      const { from, to, step } = range(spec);
      Object.assign(slider, { min: String(Math.min(from, spec.value)), max: String(Math.max(to, spec.value)), step: String(step) });
      slider.value = String(spec.value);
      box.value = String(spec.value);
      strength.classList.toggle("none", spec.op === "ablate");
      slider.disabled = box.disabled = spec.op === "ablate";
    };
    fit();
    const set = (/** @type {number} */ value) => {
      if (!Number.isFinite(value) || value === spec.value) return;
      spec.value = value;
      this.owner.changed();
    };
    slider.addEventListener("input", () => {
      box.value = slider.value;
      set(Number(slider.value));
    });
    box.addEventListener("input", () => {
      if (box.value.trim() === "") return;
      set(Number(box.value));
      slider.max = String(Math.max(Number(slider.max), spec.value));
      slider.min = String(Math.min(Number(slider.min), spec.value));
      slider.value = String(spec.value);
    });
    kind.addEventListener("change", () => {
      spec.op = kind.value;
      spec.scale = ["add", "orthogonal"].includes(spec.op) ? spec.scale : "raw";
      const known = high(spec.hook, spec.feature) || TYPICAL;
      spec.value = { add: tidy(1.2 * known), orthogonal: tidy(1.2 * known), multiply: 2, ablate: 0 }[spec.op] ?? tidy(known);
      fit();
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
      el("button", { type: "button", class: "name", title: "Show this feature", onclick: () => this.owner.open(spec.hook, spec.feature) }, el("span", { class: name ? "label" : "label off" }, name ? named(name) : "no label"), el("span", { class: "hint" }, `${place(spec.hook)} #${spec.feature}${spec.rest}`)),
      kind, strength, spec.scale !== "raw" && el("span", { class: "hint" }, spec.scale), where,
      el("button", { type: "button", class: "quiet remove", "aria-label": `Remove ${subject}`, onclick: remove }, "×"),
      el("p", { class: "hint applied" }, describe(this.#effects.get(spec))));
  }
}

/** From this length on, relative to the activation, an intervention leaves nothing of the text. */
const OVERWHELMING = 10;

/**
 * The effect of an intervention in words.
 * @param {Applied | undefined} effect
 */
function describe(effect) {
  if (!effect) return "";
  if (effect.changed === 0) return `Changed nothing at ${count(effect.positions, "token")}.`;
  const moved = `Moved the activation at ${count(effect.changed, "token")}, by`;
  if (effect.moved < OVERWHELMING) return `${moved} ${percent(effect.moved)} on average.`;
  const times = effect.moved < 1000 ? `${Math.round(effect.moved)} times` : "more than 1,000 times";
  return `${moved} ${times} its own length on average. Nothing else counts then; reduce the strength.`;
}

/**
 * The range of a slider: about twice the feature's maximum activation, if known.
 * @param {Intervention} spec
 */
function range(spec) {
  if (spec.op === "multiply") return { from: -2, to: 5, step: 0.1 };
  if (spec.scale === "norm") return { from: -1, to: 1, step: 0.01 };
  const known = Math.ceil(2.2 * (high(spec.hook, spec.feature) || TYPICAL));
  const step = known >= 10 ? 0.5 : known / 100;
  return spec.op.startsWith("set") ? { from: 0, to: known, step } : { from: -known, to: known, step };
}

