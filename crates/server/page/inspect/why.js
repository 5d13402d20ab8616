import { Refused } from "../client/api.js";
import { attribute } from "../client/attribute.js";
import { capital, count, el, shown } from "../view/dom.js";
import { say } from "../view/say.js";
import { weights } from "../state/causes.js";
import { learn } from "../state/names.js";
import { title } from "./inspector.js";
import { answer, subject } from "./why-panel.js";
/** @import {Causes, Token} from "../types.d.ts" */
/** @import {Output} from "../view/output.js" */
/** @import {TokenText} from "../view/text.js" */

/** Delay until the panel says that it waits for the server, in ms. */
const PATIENCE = 300;
/** Number of answers that are kept, for going back to them. */
const KEPT = 24;

/**
 * A question: why the token at `at`, or why not the alternative with the id `other`?
 * @typedef {object} Question
 * @property {TokenText} text
 * @property {number} at
 * @property {number | null} other
 * @property {Token[]} tokens those of the model's context up to the token
 * @property {boolean} steered true if the text was steered
 */

/**
 * The actions of the panel.
 * @typedef {object} Acts
 * @property {(hook: string, feature: number) => void} feature
 * @property {(position: number) => void} token
 * @property {(other: number | null) => void} ask
 * @property {(steer: string) => void} turn turns a feature off at a token, or on again
 * @property {string[]} interventions those that are on, in their written form
 * @property {() => void} cancel
 * @property {() => void} focus
 * @property {(error: unknown) => void} failed
 */

/**
 * A panel that is filled in when the answer arrives.
 * @typedef {object} Panel
 * @property {HTMLElement} heading
 * @property {HTMLElement} body
 * @property {Question} question
 * @property {Acts} act
 * @property {Set<string>} wide lists that are expanded
 */

/** Asks the server for the causes of a token, one question at a time, and tints the text by them. */
export class Why {
  /** The latest answers, by question. @type {Map<string, Causes>} */
  #answers = new Map();
  #asking = new AbortController();

  /** @param {Output} output */
  constructor(output) {
    this.output = output;
  }

  /** Ends the question that is shown. */
  leave() {
    this.#asking.abort();
    this.output.tint(null);
  }

  /**
   * The panel of a question.
   * @param {Question} question
   * @param {Acts} act
   * @param {Set<string>} wide lists that are expanded
   */
  panel(question, act, wide) {
    const panel = { heading: title(...subject(question, this.#name(question))), body: el("div"), question, act, wide };
    const known = this.#answers.get(key(question));
    this.leave();
    if (known) this.#show(panel, known);
    else this.#ask(panel);
    const note = question.steered && el("p", { class: "hint steered-note" }, "This text was steered. The causes here are those of the model without steering.");
    return el("div", { class: "why-token" }, el("div", { class: "head" }, panel.heading), note, panel.body);
  }

  /** The text of the alternative, from the answer that lists it; empty if there is none yet. @param {Question} question */
  #name({ tokens, other }) {
    const known = this.#answers.get(key({ tokens, other: null }));
    return known?.alternatives.find(({ id }) => id === other)?.text ?? "";
  }

  /** @param {Panel} panel */
  async #ask(panel) {
    const { question, act, body } = panel;
    const { signal } = (this.#asking = new AbortController());
    const fill = (/** @type {Node[]} */ ...content) => {
      const focused = body.contains(document.activeElement);
      body.replaceChildren(...content);
      if (focused) act.focus();
    };
    const waiting = setTimeout(() => fill(el("p", { class: "hint" }, "Computing the causes…"), el("progress", { "aria-label": "Computing the causes" }), el("div", { class: "acts" }, el("button", { type: "button", onclick: act.cancel }, "Cancel"))), PATIENCE);
    signal.addEventListener("abort", () => clearTimeout(waiting));
    try {
      const causes = await attribute(question.tokens, question.other, signal);
      if (signal.aborted) return;
      for (const { hook, feature, label, auto } of causes.features) learn(hook, feature, label, auto === true);
      this.#answers.set(key(question), causes);
      for (const old of [...this.#answers.keys()].slice(0, -KEPT)) this.#answers.delete(old);
      fill();
      this.#show(panel, causes);
      say(`${count(causes.features.length, "cause")} of ${causes.target.text.trim() || shown(causes.target.text)}.`);
    } catch (error) {
      if (signal.aborted) return;
      const again = () => {
        fill();
        this.#ask(panel);
      };
      fill(el("p", { class: "error", role: "alert" }, inWords(error)), el("div", { class: "acts" }, el("button", { type: "button", onclick: again }, "Try again")));
      act.failed(error);
    } finally {
      clearTimeout(waiting);
    }
  }

  /**
   * @param {Panel} panel
   * @param {Causes} causes
   */
  #show({ heading, body, question, act, wide }, causes) {
    heading.replaceChildren(...subject(question, causes.target.text));
    body.replaceChildren(...answer(question, causes, act, wide));
    this.output.tint({ text: question.text, tokens: question.tokens, weights: weights(causes), subject: shown(causes.target.text) });
  }
}

/** @param {Pick<Question, "tokens" | "other">} question */
const key = ({ tokens, other }) => `${tokens.map(({ id }) => id).join()}:${other ?? ""}`;

/** An error, with what can be done about it. @param {unknown} error */
function inWords(error) {
  if (!(error instanceof Refused)) return String(error);
  if (error.status === 429) return "The server is busy with other requests. Try again in a few seconds.";
  if (error.code === "context_length_exceeded") return `The text up to this token is too long for the model: ${error.message}. Ask about an earlier token.`;
  if (error.code === "time_out") return "The computation took longer than this server allows. Ask about an earlier token, which has fewer before it, or use a server with a longer time limit.";
  return capital(error.message);
}
