import { $, count, el, visible } from "../view/dom.js";
import { SEEDS } from "../state/share.js";
/** @import {About, State} from "../types.d.ts" */

/** The inputs, with the field of the state, the name and the range of each. */
const FIELDS = /** @type {const} */ ([
  ["temperature", "temperature", "Temperature", 0, 100],
  ["top-k", "topK", "Top-k", 0, 1e9],
  ["top-p", "topP", "Top-p", 0.001, 1],
  ["max-tokens", "maxTokens", "Tokens", 1, 1e6],
  ["seed", "seed", "Seed", 0, SEEDS - 1],
]);
/** The fields that need not be whole numbers. */
const REAL = ["temperature", "topP"];

/**
 * The prompt, the sampling settings and the conversation.
 */
export class Controls {
  /** The fault in the content of each input, by the input's id. @type {Map<string, string>} */
  #wrong = new Map();
  #width = 0;
  /** The number of tokens of the last prompt; 0 if it is not known. */
  #prompt = 0;
  /** The mode whose text is in the box. @type {State["mode"]} */
  #mode = "story";
  /** The content of the box in the other mode. */
  #draft = "";
  /** The prompt of the state that was last written into the box. @type {string | null} */
  #written = null;
  /** True if the user has typed the prompt in the box. */
  typed = false;

  /**
   * @param {() => State} state
   * @param {About} about
   * @param {{run: () => void, changed: () => void, mode: () => void, compare: () => void, answer: (message: number) => Node | null}} owner
   */
  constructor(state, about, owner) {
    this.state = state;
    this.about = about;
    this.owner = owner;
    $("modes").querySelector("[value=chat]").disabled = !about.model.chat;
    $("max-tokens").max = String(about.limits.max_tokens);
    $("max-tokens-range").textContent = `1–${about.limits.max_tokens}`;
    for (const [id, field] of FIELDS) {
      $(id).addEventListener("input", () => {
        const wrong = this.#check(field, $(id).value);
        $(id).setAttribute("aria-invalid", String(wrong !== ""));
        if (wrong) this.#wrong.set(id, `${wrong} ${state()[field]} is still used.`);
        else this.#wrong.delete(id);
        this.#complain();
        const value = Number($(id).value);
        if (wrong || value === state()[field]) return;
        state()[field] = value;
        this.#summary();
        owner.changed();
      });
    }
    $("prompt").addEventListener("input", () => {
      if (state().mode === "story") this.typed = $("prompt").value.trim() !== "";
      this.prompted(0);
      this.#grow();
    });
    // The text may need more lines when the box becomes narrower.
    new ResizeObserver(() => {
      if ($("prompt").clientWidth === this.#width) return;
      this.#width = $("prompt").clientWidth;
      this.#grow();
    }).observe($("prompt"));
    $("prompt").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter" && state().mode === "chat" && !event.shiftKey && !event.ctrlKey && !event.metaKey && !event.isComposing) {
        event.preventDefault();
        owner.run();
      }
    });
    $("ask").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      owner.run();
    });
    $("compare").addEventListener("change", () => {
      state().compare = $("compare").checked;
      owner.compare();
    });
    for (const radio of $("modes").querySelectorAll("input")) {
      radio.addEventListener("change", () => {
        state().mode = radio.value;
        this.draw();
        owner.mode();
      });
    }
  }

  /** Updates all inputs from the state. */
  draw() {
    const state = this.state();
    for (const [id, field] of FIELDS) {
      $(id).value = String(state[field]);
      $(id).removeAttribute("aria-invalid");
    }
    this.#wrong.clear();
    this.#complain();
    const chat = state.mode === "chat";
    for (const radio of $("modes").querySelectorAll("input")) radio.checked = radio.value === state.mode;
    $("compare").checked = state.compare;
    this.#fill();
    $("prompt").placeholder = chat ? "Write a message" : "The beginning of the text";
    $("prompt-label").textContent = chat ? "Message" : "Prompt";
    $("run").textContent = chat ? "Send" : "Run";
    $("fresh").hidden = !chat;
    $("stage").classList.toggle("chat", chat);
    // In a chat, the message box comes after the conversation, also in tab order.
    if (chat) $("stage").append($("ask"));
    else $("steering").before($("ask"));
    this.#grow();
    this.#summary();
    this.thread();
  }

  /** Fills the box. What the user has typed stays, except for a prompt in place of which the state has another. */
  #fill() {
    const { mode, prompt } = this.state();
    if (mode !== this.#mode) [$("prompt").value, this.#draft, this.#mode] = [this.#draft, $("prompt").value, mode];
    if (mode === "chat" || prompt === this.#written) return;
    $("prompt").value = this.#written = prompt;
    this.typed = false;
  }

  /** Takes the prompt in the box into the state. */
  take() {
    if (this.state().mode === "story") this.state().prompt = this.#written = $("prompt").value;
  }

  /** Takes the message out of the box; empty if there is none. */
  message() {
    const text = $("prompt").value.trim();
    if (text !== "") $("prompt").value = "";
    return text;
  }

  /** Draws the conversation, up to the answer in progress. */
  thread() {
    const { mode, messages } = this.state();
    const names = { user: "You", assistant: "Model", system: "System" };
    $("thread").hidden = mode === "story";
    $("thread").replaceChildren(...(mode === "story" ? [] : messages).map(({ role, content }, at) => {
      const who = el("span", { class: "sr" }, `${names[/** @type {keyof typeof names} */ (role)] ?? role}: `);
      const answer = role === "assistant" ? this.owner.answer(at) : null;
      return el("li", { class: `turn ${role}` }, who, answer ?? visible(content));
    }));
  }

  /** Turns the comparison on or off. @param {boolean} on */
  compare(on) {
    this.state().compare = on;
    $("compare").checked = on;
  }

  /** Takes note of the length of a prompt, which leaves the rest of the context to the text. @param {number} tokens */
  prompted(tokens) {
    this.#prompt = tokens;
    this.#summary();
  }

  /** The first fault in the settings, for example of a link; empty without one. */
  get wrong() {
    const state = this.state();
    return FIELDS.map(([, field]) => this.#check(field, String(state[field]))).find((wrong) => wrong) ?? "";
  }

  /**
   * @param {(typeof FIELDS)[number][1]} field
   * @param {string} text
   * @returns {string} what is wrong with it
   */
  #check(field, text) {
    const found = FIELDS.find(([, of]) => of === field);
    if (!found) return "";
    const [, , name, least, widest] = found;
    const { limits, model } = this.about;
    const most = field === "maxTokens" ? limits.max_tokens : widest;
    const value = text.trim() === "" ? NaN : Number(text);
    if (value >= least && value <= most && (REAL.includes(field) || Number.isInteger(value))) return "";
    const context = field === "maxTokens" && model.context < most ? `; the model’s context ends after ${model.context}, the prompt’s included` : "";
    return `${name}: expected a ${REAL.includes(field) ? "" : "whole "}number from ${least} to ${most}${context}.`;
  }

  #complain() {
    $("field-error").textContent = [...this.#wrong.values()].join(" ");
    $("field-error").hidden = this.#wrong.size === 0;
    for (const [id] of FIELDS) {
      if (this.#wrong.has(id)) $(id).setAttribute("aria-describedby", "field-error");
      else $(id).removeAttribute("aria-describedby");
    }
  }

  #grow() {
    const box = $("prompt");
    box.style.height = "auto";
    box.style.height = `${Math.min(240, box.scrollHeight + 2)}px`;
  }

  #summary() {
    const { temperature, topK, topP, maxTokens, seed } = this.state();
    const { context } = this.about.model;
    const room = Math.max(0, context - this.#prompt);
    const cut = maxTokens > room ? `, of which ${room} fit` : "";
    $("settings-now").textContent = [`temperature ${temperature}`, topK > 0 && `top-k ${topK}`, topP < 1 && `top-p ${topP}`, `${count(maxTokens, "token")}${cut}`, `seed ${seed}`].filter(Boolean).join(" · ");
    const known = this.#prompt > 0 ? ` The ${this.state().mode === "chat" ? "conversation" : "prompt"} has ${this.#prompt}, so ${room} can follow.` : "";
    $("limits").textContent = `The model’s context is ${count(context, "token")}, those of the prompt included.${known}`;
  }
}
