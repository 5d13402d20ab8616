import { runOf, toFragment } from "./share.js";
/** @import {State, View} from "../types.d.ts" */

/** The page's address, which has its state, and the entries of the browser's history. */
export class Address {
  /** True while the page follows a link. */
  #following = false;
  /** True if the last run was that of a slider: all of them are one step of the history. */
  #sliding = false;
  /** True if the pending run is that of a slider. */
  #slides = false;

  /** @param {() => State} state */
  constructor(state) {
    this.state = state;
  }

  /**
   * Performs `act`, which shows the view in a link without adding to the history.
   * @template T
   * @param {() => T} act
   */
  follow(act) {
    this.#following = true;
    try {
      return act();
    } finally {
      this.#following = false;
    }
  }

  /** Takes note that a setting has changed; `slider` if a slider was moved. @param {boolean} slider */
  changed(slider) {
    if (slider) this.#slides = true;
    else this.#sliding = false;
  }

  /** Writes the address of a run that begins. @param {State | null} before that of the run before */
  ran(before) {
    const goesOn = this.#slides && this.#sliding;
    this.#sliding = this.#slides;
    this.#slides = false;
    this.write(before && !goesOn && runOf(this.state()) !== runOf(before) ? "push" : "replace");
  }

  /** Writes the address of a view that was opened or closed. @param {View | null} before */
  viewed(before) {
    // Going from token to token is one step of the history.
    const step = before?.kind === "token" && this.state().view?.kind === "token";
    this.write(this.#following || step ? "replace" : "push");
  }

  /** @param {"push" | "replace"} how */
  write(how) {
    const fragment = toFragment(this.state());
    if (fragment === location.hash) return;
    try {
      if (how === "push") history.pushState({ before: location.hash }, "", fragment);
      else history.replaceState(history.state, "", fragment);
    } catch {
      // Browsers throttle this call; Share still has the current link.
    }
  }

  /** Goes back in the history if that leads to a view, and returns true then. @param {View | null} view */
  back(view) {
    const leads = history.state?.before === toFragment({ ...this.state(), view });
    if (leads) history.back();
    return leads;
  }
}
