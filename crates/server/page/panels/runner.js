import { run } from "../client/run.js";
import { $, count, number } from "../view/dom.js";
import { notice } from "./messages.js";
import { say } from "../view/say.js";
/** @import {About, Ending, Origin, Run, State} from "../types.d.ts" */
/** @import {Output} from "../view/output.js" */

/** The interval between announcements of progress, in ms. */
const ANNOUNCE = 10_000;

/** Runs a state and draws its texts, one run at a time. */
export class Runner {
  #running = new AbortController();
  /** The run whose texts are shown. @type {Run | null} */
  last = null;
  /** The state that was run last, also if it had no text. @type {State | null} */
  asked = null;

  /**
   * @param {About} about
   * @param {Output} output
   * @param {{begun: () => void, end: (choice: number, ending: Ending) => void, finished: () => void, cut: () => void, failed: (error: unknown, state: State) => void}} owner
   */
  constructor(about, output, owner) {
    this.about = about;
    this.output = output;
    this.owner = owner;
  }

  stop() {
    this.#running.abort();
  }

  /** Ends the run without a word. */
  cancel() {
    this.#running.abort();
    this.#running = new AbortController();
    this.#busy(false);
    $("progress").textContent = "";
    $("panes").style.minHeight = "";
  }

  /** @param {State} now */
  async go(now) {
    this.#running.abort();
    const own = (this.#running = new AbortController());
    const { signal } = own;
    const state = structuredClone(now);
    const compare = state.compare && state.steer.length > 0;
    this.asked = state;
    this.#busy(true);
    $("progress").textContent = "";
    say("Generating.");
    let [begun, tokens, announced] = [0, 0, performance.now()];
    // The previous text stays until the first token arrives, so that nothing moves under a slider.
    const begin = () => {
      if (begun > 0) return;
      begun = performance.now();
      this.last = { state, finished: false };
      this.owner.begun();
      $("panes").style.minHeight = `${$("panes").offsetHeight}px`;
      this.output.begin({ compare, steered: state.steer.length > 0, chat: state.mode === "chat" });
    };
    const rate = () => `${count(tokens, "token")} · ${number(tokens / Math.max(0.001, (performance.now() - begun) / 1000), 2)}/s`;
    try {
      await run(state, this.about, signal, {
        prompt: (choice, some) => {
          begin();
          this.output.prompt(choice, some);
        },
        note: notice,
        token: (choice, token) => {
          begin();
          this.output.token(choice, token);
          tokens++;
          if (tokens % 8 === 0) $("progress").textContent = rate();
          if (performance.now() - announced > ANNOUNCE) {
            announced = performance.now();
            say(`${count(tokens, "token")} so far.`);
          }
        },
        end: (choice, ending) => {
          begin();
          this.output.end(choice, ending);
          this.owner.end(choice, ending);
        },
      });
      this.output.compared();
      const [steered, plain] = this.output.endings;
      if (compare && steered?.fluency && plain?.fluency) {
        steered.fluency = against(steered.fluency.nll, plain.fluency.nll);
        this.owner.end(0, steered);
      }
      if (this.last?.state === state) this.last.finished = true;
      $("progress").textContent = rate();
      if (now.compare && !compare) notice("Both texts are the same without steering. Find a feature above and turn it up to see a before and an after.");
      say(`Done: ${count(tokens, "token")}.`);
      this.owner.finished();
    } catch (error) {
      if (this.#running !== own) return;
      for (const text of this.output.texts) text.flush();
      this.owner.cut();
      if (signal.aborted) {
        $("progress").textContent = "Stopped.";
        say("Stopped.");
      } else {
        this.owner.failed(error, state);
      }
    } finally {
      if (this.#running === own) {
        this.#busy(false);
        $("panes").style.minHeight = "";
      }
    }
  }

  /** @param {boolean} busy */
  #busy(busy) {
    const focused = document.activeElement;
    $("stop").hidden = !busy;
    $("run").hidden = busy;
    if (focused === $("run") && busy) $("stop").focus();
    if (focused === $("stop") && !busy) $("run").focus();
    for (const id of ["export", "html", "copy", "active"]) $(id).disabled = busy || !this.last;
    $("output").setAttribute("aria-busy", String(busy));
  }

  /**
   * Takes a run that was opened from a file as the one that is shown.
   * @param {State} state
   * @param {boolean} finished
   * @param {Origin} origin
   */
  opened(state, finished, origin) {
    this.last = { state: structuredClone(state), finished, origin };
    this.asked = this.last.state;
    this.#busy(false);
  }

  /** Removes the run that is shown. */
  forget() {
    this.last = this.asked = null;
    this.cancel();
  }
}

/**
 * The fluency of a steered text, compared with the unsteered one.
 * @param {number} nll
 * @param {number} plain
 */
function against(nll, plain) {
  // A text that the model is certain of has almost nothing to divide by.
  return { nll, unsteered_nll: plain, ratio: nll / Math.max(plain, LEAST_NLL) };
}

/** The smallest divisor of a fluency, in nats per token. */
const LEAST_NLL = 0.1;
