import { el, shown, visible } from "./dom.js";
import { learn, reached } from "../state/names.js";
import { special } from "../state/prompt.js";
import { level, valueOf } from "./shade.js";
/** @import {Shade, Token} from "../types.d.ts" */

/**
 * A text whose tokens can be focused, shaded and opened. It only appends, and draws all tokens of a
 * frame together.
 */
export class TokenText {
  /** @type {Token[]} */
  tokens = [];
  /** The maximum of the shading activation, excluding special tokens. */
  high = 0;
  /** @type {HTMLElement[]} */
  #spans = [];
  /** @type {number[]} */
  #values = [];
  /** @type {number[]} */
  #levels = [];
  /** @type {HTMLElement | null} */
  #paragraph = null;
  #current = -1;
  #chosen = -1;
  #different = Infinity;
  #frame = 0;
  #done = 0;

  /**
   * @param {string} name
   * @param {{shade: () => Shade | null, scale: () => number, point: (text: TokenText, at: number) => void, open: (text: TokenText, at: number, how: "pointer" | "key") => void, drawn: () => void}} owner
   */
  constructor(name, owner) {
    this.name = name;
    this.owner = owner;
    this.element = el("div", { class: "text", role: "group", "aria-label": `${name}. Arrow keys move between tokens, Enter shows a token’s features.`, dir: "ltr" });
    this.element.addEventListener("click", (/** @type {MouseEvent} */ event) => this.#act(event.target, "pointer"));
    this.element.addEventListener("pointerover", (/** @type {PointerEvent} */ event) => this.#with(event.target, (at) => owner.point(this, at)));
    this.element.addEventListener("focusin", (/** @type {FocusEvent} */ event) => this.#with(event.target, (at) => {
      this.#rove(at);
      owner.point(this, at);
    }));
    this.element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
  }

  /** @param {Token} token */
  push(token) {
    for (const [hook, pairs] of Object.entries(token.features)) {
      for (const [index, value, text] of pairs) {
        learn(hook, index, text);
        if (!special(token)) reached(hook, index, value);
      }
    }
    this.tokens.push(token);
    this.#value(token, this.tokens.length - 1);
    this.#frame ||= requestAnimationFrame(() => this.flush());
  }

  /** Draws the tokens that have arrived since the last frame. */
  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const from = this.#done;
    for (; this.#done < this.tokens.length; this.#done++) this.#append(this.tokens[this.#done], this.#done);
    this.paint(from);
    this.owner.drawn();
  }

  stop() {
    cancelAnimationFrame(this.#frame);
  }

  /** Recomputes the values for the current shading. */
  reshade() {
    this.high = 0;
    for (const [at, token] of this.tokens.entries()) this.#value(token, at);
  }

  /**
   * Shades the tokens from `from` on with the current scale.
   * @param {number} from
   */
  paint(from = 0) {
    const scale = this.owner.scale();
    const strongest = this.owner.shade()?.feature === null;
    for (let at = from; at < this.#spans.length; at++) {
      const now = special(this.tokens[at]) ? 0 : level(this.#values[at], scale, strongest);
      const before = this.#levels[at] ?? 0;
      if (now === before) continue;
      if (before > 0) this.#spans[at].classList.remove(`s${before}`);
      if (now > 0) this.#spans[at].classList.add(`s${now}`);
      this.#levels[at] = now;
    }
  }

  /**
   * Marks the tokens from `at` on as different from the other text.
   * @param {number} at
   */
  differ(at) {
    this.#different = at;
    for (let n = at; n < this.#spans.length; n++) this.#spans[n].classList.add("d");
    this.#spans[at]?.classList.add("first");
  }

  /** @param {number} at -1 for none */
  choose(at) {
    this.#spans[this.#chosen]?.removeAttribute("aria-current");
    this.#chosen = at;
    this.#spans[at]?.setAttribute("aria-current", "true");
  }

  /** @param {number} at */
  focus(at) {
    this.#spans[at]?.focus();
  }

  /**
   * Scrolls a token into view above `bottom`, in pixels of the window.
   * @param {number} at
   * @param {number} bottom
   */
  reveal(at, bottom) {
    const box = this.#spans[at]?.getBoundingClientRect();
    if (box && (box.top < 8 || box.bottom > bottom - 24)) scrollBy(0, box.top - bottom * 0.4);
  }

  /**
   * @param {Token} token
   * @param {number} at
   */
  #append(token, at) {
    // The space before a word is outside of its box, which a line break would otherwise split.
    const [, space, word] = /^( (?=\S))?(.*)$/s.exec(token.piece) ?? [];
    // The end of a paragraph already breaks the line.
    const text = token.piece === "" ? "▫" : visible(word.replace(/\n$/, ""));
    const span = el("span", { class: "t", role: "button", tabindex: -1 }, text);
    span.dataset.at = String(at);
    if (word.endsWith("\n")) span.classList.add("nl");
    if (token.prompt) span.classList.add("p");
    if (special(token)) span.classList.add("special");
    if (at >= this.#different) span.classList.add("d");
    if (at === this.#different) span.classList.add("first");
    if (/^\s*$/.test(token.piece)) span.setAttribute("aria-label", shown(token.piece));
    this.#spans.push(span);
    // Each paragraph is laid out separately, so that appending to a long text stays cheap.
    if (!this.#paragraph) this.element.append((this.#paragraph = el("p", {})));
    this.#paragraph?.append(space ?? "", span);
    if (token.piece.endsWith("\n")) this.#paragraph = null;
    if (at === 0) this.#rove(0);
  }

  /**
   * @param {Token} token
   * @param {number} at
   */
  #value(token, at) {
    const value = Math.abs(valueOf(token, this.owner.shade()));
    this.#values[at] = value;
    if (value > this.high && !special(token)) this.high = value;
  }

  /** @param {number} at */
  #rove(at) {
    this.#spans[this.#current]?.setAttribute("tabindex", "-1");
    this.#current = at;
    this.#spans[at]?.setAttribute("tabindex", "0");
  }

  /**
   * @param {EventTarget | null} target
   * @param {(at: number) => void} then
   */
  #with(target, then) {
    const at = target instanceof HTMLElement ? target.dataset.at : undefined;
    if (at !== undefined) then(Number(at));
  }

  /**
   * @param {EventTarget | null} target
   * @param {"pointer" | "key"} how
   */
  #act(target, how) {
    this.#with(target, (at) => {
      this.#spans[at].focus({ preventScroll: true });
      this.owner.open(this, at, how);
    });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.#spans.length - 1;
    const at = this.#current;
    /** @type {Record<string, () => number>} */
    const moves = {
      ArrowLeft: () => Math.max(0, at - 1),
      ArrowRight: () => Math.min(last, at + 1),
      ArrowUp: () => this.#line(at, -1),
      ArrowDown: () => this.#line(at, 1),
      Home: () => 0,
      End: () => last,
    };
    if (Object.hasOwn(moves, event.key)) {
      event.preventDefault();
      this.focus(moves[event.key]());
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#act(event.target, "key");
    }
  }

  /**
   * The nearest token in the line above or below `from`.
   * @param {number} from
   * @param {1 | -1} by
   */
  #line(from, by) {
    const box = (/** @type {number} */ at) => this.#spans[at].getClientRects()[0] ?? this.#spans[at].getBoundingClientRect();
    const start = box(from);
    const middle = start.left + start.width / 2;
    let [best, line, distance] = [from, NaN, Infinity];
    for (let at = from + by; at >= 0 && at < this.#spans.length; at += by) {
      const here = box(at);
      if (Math.abs(here.top - start.top) < start.height / 2) continue;
      if (Number.isNaN(line)) line = here.top;
      if (Math.abs(here.top - line) > start.height / 2) break;
      const away = Math.abs(here.left + here.width / 2 - middle);
      if (away < distance) [best, distance] = [at, away];
    }
    return best;
  }
}
