import { $, count, el, number } from "./dom.js";
import { differences } from "../state/diff.js";
import { OFF, ramp, scaleFor, strongest } from "./shade.js";
import { TokenText } from "./text.js";
import { special } from "../state/prompt.js";
/** @import {Ending, Message, Shade, Token} from "../types.d.ts" */

/** Share of the time that comparing two growing texts may take. */
const COMPARING = 0.1;

/**
 * The texts of a run: one, or the steered one (choice 0) and the unsteered one (choice 1) side by side; and the
 * earlier answers of a conversation.
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
  /** The earlier answers, by the index of their message. @type {Map<number, TokenText>} */
  kept = new Map();
  /** The tokens at which two texts differ, by text. @type {boolean[][]} */
  marks = [];
  /** The texts that have a tint. @type {TokenText[]} */
  #tinted = [];
  #scale = 1;
  /** The time of the next comparison. */
  #next = 0;

  /**
   * @param {{shade: () => Shade, point: (text: TokenText, at: number, how: "pointer" | "key") => void, leave: () => void, open: (text: TokenText, at: number, how: "pointer" | "key") => void}} owner
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
    const names = compare ? ["Steered", "Unsteered"] : [chat ? "Answer" : steered ? "Steered text" : "Text"];
    this.texts = names.map((name) => this.#text(name));
    this.read = chat ? names.map((name) => this.#text(`${name}: model input`)) : null;
    this.endings = [];
    this.marks = [];
    this.#next = 0;
    const panes = this.texts.map((text, at) => this.#pane(text, at, compare));
    // The unsteered text is displayed first, although the steered text is choice 0.
    $("panes").replaceChildren(...panes.reverse());
    $("panes").classList.toggle("two", compare);
  }

  /** @param {string} name */
  #text(name) {
    return new TokenText(name, { ...this.owner, scale: () => this.#scale, drawn: () => this.#drawn() });
  }

  /**
   * @param {TokenText} text
   * @param {number} at
   * @param {boolean} compare
   */
  #pane(text, at, compare) {
    const kind = compare ? (at === 0 ? "steered" : "unsteered") : "only";
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
    return this.texts[choice]?.plain(false) ?? "";
  }

  /** All texts that have tokens. */
  get all() {
    return [...this.texts, ...(this.read ?? []), ...this.kept.values()];
  }

  /**
   * Keeps the answer as an earlier one of the conversation.
   * @param {number} message the index of its message
   */
  keep(message) {
    const [text] = this.texts;
    if (!text || text.tokens.length === 0) return;
    text.flush();
    text.differ([]);
    this.kept.set(message, text);
  }

  /**
   * Takes the earlier answers that the page has not seen, those of a link, from the model's input, where special
   * tokens separate the messages. Returns true if there are any.
   * @param {Message[]} messages
   */
  recall(messages) {
    /** @type {Token[][]} */
    const parts = [[]];
    for (const token of this.read?.[0].tokens ?? []) {
      if (special(token)) parts.push([]);
      else parts.at(-1)?.push(token);
    }
    let [from, found] = [0, false];
    for (const [at, { role, content }] of messages.entries()) {
      const part = parts.findIndex((tokens, n) => n >= from && tokens.map(({ piece }) => piece).join("") === content);
      if (part < 0) continue;
      from = part + 1;
      if (role !== "assistant" || this.kept.get(at)?.plain(false) === content) continue;
      const text = this.#text("Earlier answer");
      for (const token of parts[part]) text.push({ ...token, prompt: false });
      text.flush();
      this.kept.set(at, text);
      found = true;
    }
    return found;
  }

  /** Removes the earlier answers from a message on. @param {number} message */
  forget(message) {
    for (const at of this.kept.keys()) if (at >= message) this.kept.delete(at);
  }

  reshade() {
    for (const text of this.all) text.reshade();
    this.#legend();
    for (const text of this.all) text.paint();
  }

  /**
   * The tokens of the model's context up to one of a text, that one last; null if the page does not have them.
   * @param {TokenText} text
   * @param {number} at
   * @returns {Token[] | null}
   */
  upTo(text, at) {
    const own = text.tokens.slice(0, at + 1);
    const read = this.read?.[Math.max(0, this.texts.indexOf(text))]?.tokens ?? [];
    const first = own[0]?.position ?? 0;
    // The model's input has an earlier answer too, and may by now have another one in its place.
    const others = read.slice(first, first + own.length);
    const changed = !this.texts.includes(text) && first > 0 && own.some(({ id }, n) => others[n]?.id !== id);
    const all = [...read.slice(0, first), ...own];
    return !changed && all.every(({ position }, n) => position === n) ? all : null;
  }

  /**
   * Tints the tokens of the texts by their weight among the causes of a token, and explains it in the legend.
   * @param {{text: TokenText, tokens: Token[], weights: Map<number, {weight: number, against: boolean}>, subject: string} | null} causes
   * null for no tint
   */
  tint(causes) {
    const legend = $("causes");
    legend.hidden = causes === null;
    // Hides the shades of all texts, which the tokens keep.
    $("output").classList.toggle("tinted", causes !== null);
    for (const text of this.#tinted) text.tint([]);
    this.#tinted = [];
    if (!causes) return;
    const { text, tokens, weights, subject } = causes;
    const read = this.read?.[Math.max(0, this.texts.indexOf(text))];
    this.#tinted = [...new Set([text, ...(read ? [read] : []), ...this.kept.values()])];
    for (const one of this.#tinted) one.tint(one.tokens.map(({ position, id }) => (tokens[position]?.id === id ? weights.get(position) : undefined)));
    const swatch = (/** @type {string} */ kind) => el("i", { class: `swatch cause ${kind}` });
    legend.replaceChildren("Causes of ", el("span", { class: "token" }, subject), ": ", swatch(""), "for it ", swatch("against"), "against it");
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
    if (performance.now() >= this.#next) this.#compare(true);
    if (this.#legend()) for (const text of this.all) text.paint();
  }

  /** Adapts the scale to the current values. Returns whether it has changed. */
  #legend() {
    // Earlier answers are not on the page while it shows a story.
    const high = Math.max(0, ...this.all.filter(({ element }) => element.isConnected).map((text) => text.high));
    const scale = scaleFor(high);
    const changed = scale !== this.#scale;
    this.#scale = scale;
    $("high").textContent = high > 0 ? number(scale) : "–";
    const shade = this.owner.shade();
    $("scale").hidden = shade.hook === OFF;
    const kind = strongest(shade) ? "strongest" : "one";
    if ($("ramp").dataset.kind !== kind) {
      $("ramp").dataset.kind = kind;
      $("ramp").replaceChildren(...ramp(kind === "strongest").map((step) => el("i", { class: `s${step}` })));
    }
    return changed;
  }

  /**
   * Marks the phrases at which two texts differ.
   * @param {boolean} growing true to leave out the end of the longer text, which the other may still get
   */
  #compare(growing) {
    if (this.texts.length !== 2) return;
    const begun = performance.now();
    const tokens = this.texts.map((text) => text.tokens);
    const both = growing ? Math.min(...tokens.map((some) => some.length)) : Infinity;
    const { marks, phrases, words } = differences(tokens[0].slice(0, both), tokens[1].slice(0, both));
    this.marks = marks;
    for (const [at, text] of this.texts.entries()) {
      text.differ(marks[at]);
      $(`where-${at}`).textContent = phrases === 0 ? (growing ? "" : "the same in both") : `${count(words[at], "word")} differ${words[at] === 1 ? "s" : ""}, in ${count(phrases, "phrase")}`;
    }
    this.#next = performance.now() + (performance.now() - begun) / COMPARING;
  }

  /** Concludes the comparison. */
  compared() {
    for (const text of this.texts) text.flush();
    this.#compare(false);
  }
}
