import { $, el, visible } from "../view/dom.js";
import { SEEDS } from "../state/share.js";
/** @import {About, State} from "../types.d.ts" */

/** The inputs, with the field of the state and the range of each. */
const FIELDS = /** @type {const} */ ([
  ["temperature", "temperature", 0, 100],
  ["top-k", "topK", 0, 1e9],
  ["top-p", "topP", 0, 1],
  ["max-tokens", "maxTokens", 1, 1e6],
  ["seed", "seed", 0, SEEDS - 1],
]);

/**
 * The prompt, the sampling settings and the conversation.
 */
export class Controls {
  /**
   * @param {() => State} state
   * @param {About} about
   * @param {{run: () => void, changed: () => void, mode: () => void}} owner
   */
  constructor(state, about, owner) {
    this.state = state;
    this.about = about;
    $("modes").querySelector("[value=chat]").disabled = !about.model.chat;
    $("max-tokens").max = String(about.limits?.max_tokens ?? 4096);
    for (const [id, field, least, most] of FIELDS) {
      $(id).addEventListener("input", () => {
        const value = Number($(id).value);
        const ok = $(id).value !== "" && value >= least && value <= most && (field === "temperature" || field === "topP" || Number.isInteger(value));
        $(id).setAttribute("aria-invalid", String(!ok));
        if (!ok || value === state()[field]) return;
        state()[field] = value;
        this.#summary();
        owner.changed();
      });
    }
    $("prompt").addEventListener("input", () => {
      if (state().mode === "story") state().prompt = $("prompt").value;
      this.#grow();
    });
    $("prompt").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter" && state().mode === "chat" && !event.shiftKey && !event.isComposing) {
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
      owner.changed();
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
    const chat = state.mode === "chat";
    for (const radio of $("modes").querySelectorAll("input")) radio.checked = radio.value === state.mode;
    $("compare").checked = state.compare;
    $("prompt").value = chat ? "" : state.prompt;
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

  /** Draws the conversation, up to the answer in progress. */
  thread() {
    const { mode, messages } = this.state();
    const names = { user: "You", assistant: "Model", system: "System" };
    $("thread").hidden = mode === "story";
    $("thread").replaceChildren(...(mode === "story" ? [] : messages).map(({ role, content }) => el("li", { class: `turn ${role}` }, el("span", { class: "sr" }, `${names[/** @type {keyof typeof names} */ (role)] ?? role}: `), visible(content))));
  }

  #grow() {
    const box = $("prompt");
    box.style.height = "auto";
    box.style.height = `${Math.min(240, box.scrollHeight + 2)}px`;
  }

  #summary() {
    const { temperature, topK, topP, maxTokens, seed } = this.state();
    $("settings-now").textContent = [`temperature ${temperature}`, topK > 0 && `top-k ${topK}`, topP < 1 && `top-p ${topP}`, `${maxTokens} tokens`, `seed ${seed}`].filter(Boolean).join(" · ");
  }
}
