import { el, shown, visible } from "./dom.js";
import { learn, reached } from "../state/names.js";
import { special } from "../state/prompt.js";
import { level, strongest, valueOf } from "./shade.js";
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
  /** The tokens that the other text lacks. @type {boolean[]} */
  #different = [];
  /** The token at which a selection with the keyboard began. */
  #anchor = -1;
  #frame = 0;
  #done = 0;

  /**
   * @param {string} name
   * @param {{shade: () => Shade, scale: () => number, point: (text: TokenText, at: number, how: "pointer" | "key") => void, leave: () => void, open: (text: TokenText, at: number, how: "pointer" | "key") => void, drawn: () => void}} owner
   */
  constructor(name, owner) {
    this.name = name;
    this.owner = owner;
    this.element = el("div", { class: "text", role: "group", "aria-label": `${name}. Arrow keys move between tokens, with Shift they select; Enter shows a token’s features.`, dir: "ltr" });
    this.element.addEventListener("click", (/** @type {MouseEvent} */ event) => this.#act(event.target, "pointer"));
    // Chromium does not begin a selection in an element that can be focused. The click focuses it afterwards.
    this.element.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this.#with(event.pointerType === "mouse" ? event.target : null, (at) => {
      this.#spans[at].removeAttribute("tabindex");
      addEventListener("pointerup", () => this.#spans[at].setAttribute("tabindex", at === this.#current ? "0" : "-1"), { once: true });
    }));
    this.element.addEventListener("pointerover", (/** @type {PointerEvent} */ event) => {
      if (event.pointerType !== "touch") this.#with(event.target, (at) => owner.point(this, at, "pointer"), owner.leave);
    });
    this.element.addEventListener("pointerleave", owner.leave);
    this.element.addEventListener("focusout", owner.leave);
    this.element.addEventListener("focusin", (/** @type {FocusEvent} */ event) => this.#with(event.target, (at) => {
      this.#rove(at);
      owner.point(this, at, "key");
    }));
    this.element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
  }

  /** @param {Token} token */
  push(token) {
    for (const [hook, pairs] of Object.entries(token.features)) {
      for (const [index, value, name, automatic] of pairs) {
        learn(hook, index, name, automatic === true);
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
    const emphasised = strongest(this.owner.shade());
    for (let at = from; at < this.#spans.length; at++) {
      const now = special(this.tokens[at]) ? 0 : level(this.#values[at], scale, emphasised);
      const before = this.#levels[at] ?? 0;
      if (now === before) continue;
      if (before > 0) this.#spans[at].classList.remove(`s${before}`);
      if (now > 0) this.#spans[at].classList.add(`s${now}`);
      this.#levels[at] = now;
    }
  }

  /**
   * Tints the tokens by their weight among the causes of a token.
   * @param {({weight: number, against: boolean} | undefined)[]} weights by token; empty for no tint
   */
  tint(weights) {
    for (const span of this.element.querySelectorAll(".cause")) {
      span.classList.remove("cause", "against");
      /** @type {HTMLElement} */ (span).style.removeProperty("--weight");
    }
    for (const [at, found] of weights.entries()) {
      if (!found || !this.#spans[at]) continue;
      this.#spans[at].classList.add("cause");
      this.#spans[at].classList.toggle("against", found.against);
      this.#spans[at].style.setProperty("--weight", found.weight.toFixed(3));
    }
  }

  /**
   * Marks the tokens that the other text lacks, by phrases.
   * @param {boolean[]} marks
   */
  differ(marks) {
    const before = this.#different;
    this.#different = marks;
    for (let at = 0; at < this.#spans.length; at++) {
      // A mark also depends on the one before it.
      if (Boolean(before[at]) !== Boolean(marks[at]) || Boolean(before[at - 1]) !== Boolean(marks[at - 1])) this.#mark(at);
    }
  }

  /** @param {number} at */
  #mark(at) {
    const span = this.#spans[at];
    const [own, goesOn] = [Boolean(this.#different[at]), Boolean(this.#different[at - 1])];
    span.classList.toggle("d", own);
    span.classList.toggle("first", own && !goesOn);
    let gap = span.previousSibling;
    // The space between two marked words is marked too.
    if (gap instanceof Text && own && goesOn) {
      const wide = el("span", { class: "gap" }, gap.data);
      gap.replaceWith(wide);
      gap = wide;
    }
    if (gap instanceof HTMLElement && gap.classList.contains("gap")) gap.classList.toggle("d", own && goesOn);
  }

  /** The place of a token on the screen. @param {number} at */
  box(at) {
    const span = this.#spans[at];
    return span?.getClientRects()[0] ?? span?.getBoundingClientRect();
  }

  /** True if a range includes a token. @param {number} at @param {Range} range */
  within(at, range) {
    return range.intersectsNode(this.#spans[at]);
  }

  /** The generated text, or the prompt. @param {boolean} prompt */
  plain(prompt) {
    return this.tokens.filter((token) => token.prompt === prompt && !special(token)).map(({ piece }) => piece).join("");
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
    if (/^\s*$/.test(token.piece)) span.setAttribute("aria-label", shown(token.piece));
    this.#spans.push(span);
    // Each paragraph is laid out separately, so that appending to a long text stays cheap.
    if (!this.#paragraph) this.element.append((this.#paragraph = el("p", {})));
    this.#paragraph?.append(space ?? "", span);
    if (token.piece.endsWith("\n")) this.#paragraph = null;
    if (this.#different[at]) this.#mark(at);
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
   * @param {() => void} otherwise
   */
  #with(target, then, otherwise = () => {}) {
    const at = target instanceof HTMLElement ? target.dataset.at : undefined;
    if (at === undefined) otherwise();
    else then(Number(at));
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
      const to = moves[event.key]();
      if (!event.shiftKey) this.#anchor = -1;
      else if (this.#anchor < 0) this.#anchor = at;
      this.focus(to);
      if (event.shiftKey) this.#select(this.#anchor, to);
      else getSelection()?.removeAllRanges();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#act(event.target, "key");
    }
  }

  /**
   * Selects the tokens between two.
   * @param {number} from
   * @param {number} to
   */
  #select(from, to) {
    const [first, last] = from <= to ? [this.#spans[from], this.#spans[to]] : [this.#spans[to], this.#spans[from]];
    getSelection()?.setBaseAndExtent(first, 0, last, last.childNodes.length);
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
