import { $, count, el, number } from "./dom.js";
import { ramp, scaleFor } from "./shade.js";
import { TokenText } from "./text.js";
/** @import {Ending, Shade, Token} from "../types.d.ts" */

/**
 * The texts of a run: one, or the steered one (choice 0) and the default (choice 1) side by side.
 *
 * A text that grows is only appended to. Tokens that arrive within one frame are drawn together, each paragraph is
 * its own layout container, and shades are a dozen classes on a scale that is rounded up, so that a new maximum
 * seldom changes earlier tokens.
 */
export class Output {
  /** @type {TokenText[]} */
  texts = [];
  /** @type {(Ending | undefined)[]} */
  endings = [];
  #differs = -1;
  #compared = 0;
  #scale = 1;

  /**
   * @param {{shade: () => Shade | null, point: (text: TokenText, at: number) => void, open: (text: TokenText, at: number, how: "pointer" | "key") => void}} owner
   */
  constructor(owner) {
    this.owner = owner;
  }

  /**
   * Clears everything for the next run.
   * @param {{compare: boolean, steered: boolean, chat: boolean}} how
   */
  begin({ compare, steered, chat }) {
    for (const text of this.texts) text.stop();
    const names = compare ? ["Steered", "Default"] : [chat ? "Answer" : steered ? "Steered text" : "Text"];
    const owner = { ...this.owner, scale: () => this.#scale, drawn: () => this.#drawn() };
    this.texts = names.map((name) => new TokenText(name, owner));
    this.read = chat ? names.map((name) => new TokenText(`${name}: model input`, owner)) : null;
    this.endings = [];
    this.#differs = -1;
    this.#compared = 0;
    const panes = this.texts.map((text, at) => this.#pane(text, at, compare));
    // The default is displayed first, although the steered text is choice 0.
    $("panes").replaceChildren(...panes.reverse());
    $("panes").classList.toggle("two", compare);
    $("panes").style.minHeight = "";
  }

  /**
   * @param {TokenText} text
   * @param {number} at
   * @param {boolean} compare
   */
  #pane(text, at, compare) {
    const kind = compare ? (at === 0 ? "steered" : "default") : "only";
    const note = el("p", { class: "hint end", id: `end-${at}` });
    const read = this.read && el("details", { class: "read" }, el("summary", {}, "Model input"), this.read[at].element);
    // A single pane is no landmark: the card around it is one.
    return el(compare ? "section" : "div", { class: `pane ${kind}`, "aria-label": compare && text.name }, compare && el("h3", {}, text.name, el("span", { class: "hint where", id: `where-${at}` })), read, text.element, note);
  }

  /**
   * @param {number} choice
   * @param {Token[]} tokens
   */
  prompt(choice, tokens) {
    const into = (this.read ?? this.texts)[choice];
    for (const token of tokens) into?.push(token);
  }

  /**
   * @param {number} choice
   * @param {Token} token
   */
  token(choice, token) {
    this.texts[choice]?.push(token);
  }

  /**
   * @param {number} choice
   * @param {Ending} ending
   */
  end(choice, ending) {
    this.endings[choice] = ending;
    this.texts[choice]?.flush();
    const why = { max_tokens: "token limit", stop: "end of text", stop_when: "stop condition", context_full: "context full", not_finite: "numeric overflow; reduce the strength", time_out: "time limit", shutting_down: "server shutting down", stop_string: "stop string" };
    $(`end-${choice}`).textContent = `${count(this.generated(choice), "token")} · ${why[/** @type {keyof typeof why} */ (ending.end)] ?? ending.finish}`;
  }

  /**
   * The number of generated tokens.
   * @param {number} choice
   */
  generated(choice) {
    return this.texts[choice]?.tokens.filter((token) => !token.prompt).length ?? 0;
  }

  /**
   * The generated text.
   * @param {number} choice
   */
  written(choice) {
    return (this.texts[choice]?.tokens ?? []).filter((token) => !token.prompt).map((token) => token.piece).join("");
  }

  /** All texts that have tokens. */
  get all() {
    return [...this.texts, ...(this.read ?? [])];
  }

  reshade() {
    for (const text of this.all) text.reshade();
    this.#legend();
    for (const text of this.all) text.paint();
  }

  /** The token at the same position of the other text. */
  beside(/** @type {TokenText} */ text, /** @type {number} */ at) {
    for (const pair of [this.texts, this.read ?? []]) {
      if (pair.length === 2 && pair.includes(text)) {
        const other = pair[0] === text ? pair[1] : pair[0];
        if (other.tokens[at]) return { text: other, at };
      }
    }
    return null;
  }

  #drawn() {
    this.#diff();
    if (this.#legend()) for (const text of this.all) text.paint();
  }

  /** Adapts the scale to the current values. Returns whether it has changed. */
  #legend() {
    const high = Math.max(0, ...this.all.map((text) => text.high));
    const scale = scaleFor(high);
    const changed = scale !== this.#scale;
    this.#scale = scale;
    $("high").textContent = high > 0 ? number(scale) : "–";
    const strongest = this.owner.shade()?.feature === null;
    if ($("ramp").dataset.strongest !== String(strongest)) {
      $("ramp").dataset.strongest = String(strongest);
      $("ramp").replaceChildren(...ramp(strongest).map((step) => el("i", { class: `s${step}` })));
    }
    return changed;
  }

  /** Continues the comparison of both texts, and marks the tokens from the first difference on. */
  #diff() {
    if (this.texts.length !== 2 || this.#differs >= 0) return;
    const [steered, plain] = this.texts.map((text) => text.tokens);
    const both = Math.min(steered.length, plain.length);
    while (this.#compared < both && steered[this.#compared].id === plain[this.#compared].id) this.#compared++;
    if (this.#compared === both) return;
    this.#part(this.#compared);
  }

  /** @param {number} from */
  #part(from) {
    this.#differs = from;
    for (const text of this.texts) text.differ(from);
    const written = this.texts[0].tokens.slice(0, from).filter((token) => !token.prompt).length;
    for (const at of [0, 1]) $(`where-${at}`).textContent = written === 0 ? "differs from the first token on" : `differs after ${written} ${written === 1 ? "token" : "tokens"}`;
  }

  /** Concludes the comparison: a longer text differs from the end of the shorter one; otherwise both are the same. */
  compared() {
    if (this.texts.length !== 2 || this.#differs >= 0) return;
    for (const text of this.texts) text.flush();
    const [steered, plain] = this.texts.map((text) => text.tokens.length);
    if (steered !== plain) this.#part(Math.min(steered, plain));
    else for (const at of [0, 1]) $(`where-${at}`).textContent = "the same in both";
  }
}
