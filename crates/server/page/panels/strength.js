import { el, percent } from "../view/dom.js";
import { high } from "../state/names.js";
import { fromPercent, inPercent } from "../state/spec.js";
/** @import {About, Intervention} from "../types.d.ts" */

/** The assumed maximum activation of a feature that has not been seen active. */
const TYPICAL = 20;
/** The default strength where none was measured, as a share of the activation's norm. */
const SHARE = 0.3;

/** @param {number} value */
const tidy = (value) => Number(value.toPrecision(2));

/**
 * The measured shares of the norm at a hook point; `breaks` is infinite if it was not measured.
 * @param {About} about
 * @param {string} hook
 */
export function shares(about, hook) {
  const found = about.saes.find((sae) => sae.hook === hook)?.steering;
  return { share: found?.share ?? SHARE, breaks: found?.breaks ?? Infinity };
}

/**
 * The initial strength of an operation on a feature, and its unit.
 * @param {About} about
 * @param {string} hook
 * @param {number} feature
 * @param {string} op
 * @returns {{value: number, scale: string}}
 */
export function initialStrength(about, hook, feature, op) {
  if (op === "add" || op === "orthogonal") return { value: shares(about, hook).share, scale: "norm" };
  if (op === "multiply") return { value: 2, scale: "raw" };
  if (op === "ablate") return { value: 0, scale: "raw" };
  return { value: tidy(high(hook, feature) || TYPICAL), scale: "raw" };
}

/**
 * The slider and the number of an intervention's strength. A share of the norm is shown in percent.
 */
export class Strength {
  /**
   * @param {Intervention} spec
   * @param {About} about
   * @param {string} subject
   * @param {() => void} changed
   */
  constructor(spec, about, subject, changed) {
    this.spec = spec;
    this.about = about;
    this.slider = el("input", { type: "range", "aria-label": `Strength of ${subject}` });
    this.box = el("input", { type: "number", step: "any", "aria-label": `Strength of ${subject}, as a number` });
    this.unit = el("span", { class: "unit" });
    this.note = el("span", { class: "note", role: "status" });
    this.element = el("span", { class: "strength" }, el("span", { class: "track" }, this.slider), el("span", { class: "amount" }, this.box, this.unit), this.note);
    this.slider.addEventListener("input", () => this.#set(this.slider.value, changed));
    this.box.addEventListener("input", () => {
      if (this.box.value.trim() !== "") this.#set(this.box.value, changed);
    });
    this.fit();
  }

  get #percent() {
    return this.spec.scale === "norm";
  }

  /**
   * @param {string} text
   * @param {() => void} changed
   */
  #set(text, changed) {
    const value = this.#percent ? fromPercent(Number(text)) : Number(text);
    if (!Number.isFinite(value) || value === this.spec.value) return;
    this.spec.value = value;
    this.fit();
    changed();
  }

  /** Shows the intervention's strength. */
  fit() {
    const { spec } = this;
    const none = spec.op === "ablate";
    const value = this.#percent ? inPercent(spec.value) : spec.value;
    const { from, to, step } = range(spec, this.about);
    Object.assign(this.slider, { min: String(Math.min(from, value)), max: String(Math.max(to, value)), step: String(step) });
    this.slider.value = String(value);
    // What is being typed stays as it is.
    if (document.activeElement !== this.box || Number(this.box.value) !== value) this.box.value = String(value);
    this.unit.textContent = this.#percent ? "%" : spec.scale === "raw" ? "" : spec.scale;
    this.unit.title = this.#percent ? "of the activation’s norm" : "";
    this.element.classList.toggle("none", none);
    this.slider.disabled = this.box.disabled = none;
    const { breaks } = shares(this.about, spec.hook);
    const beyond = this.#percent && Math.abs(spec.value) > breaks;
    this.note.textContent = beyond ? `above ${percent(breaks)} most texts break` : "";
    this.element.classList.toggle("beyond", beyond);
    this.element.style.setProperty("--breaks", this.#percent && breaks < Infinity ? `${((inPercent(breaks) - Number(this.slider.min)) / (Number(this.slider.max) - Number(this.slider.min))) * 100}%` : "100%");
  }
}

/**
 * The range of a slider: of a share of the norm to beyond the one above which texts break, in percent; else about
 * twice the feature's maximum activation, if known.
 * @param {Intervention} spec
 * @param {About} about
 */
function range(spec, about) {
  if (spec.op === "multiply") return { from: -2, to: 5, step: 0.1 };
  if (spec.scale === "norm") {
    const { breaks } = shares(about, spec.hook);
    return { from: 0, to: breaks < Infinity ? Math.ceil(breaks * 15) * 10 : 100, step: 1 };
  }
  const known = Math.ceil(2.2 * (high(spec.hook, spec.feature) || TYPICAL));
  const step = known >= 10 ? 0.5 : known / 100;
  return spec.op.startsWith("set") ? { from: 0, to: known, step } : { from: -known, to: known, step };
}
