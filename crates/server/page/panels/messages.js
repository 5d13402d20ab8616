import { Refused } from "../client/api.js";
import { explain } from "../client/explain.js";
import { $, visible } from "../view/dom.js";
import { say } from "../view/say.js";
/** @import {State} from "../types.d.ts" */

/** A line above the text; none if empty. @param {string} message */
export function notice(message) {
  $("notice").textContent = visible(message);
  $("notice").hidden = message === "";
}

/**
 * An error above the text; none if empty. A lost server can be asked for again.
 * @param {string} message
 * @param {boolean} lost
 */
export function complain(message, lost = false) {
  $("error").textContent = visible(message);
  $("error").hidden = message === "";
  $("reconnect").hidden = !lost;
}

/**
 * Shows the error of a run.
 * @param {unknown} error
 * @param {State} state
 */
export function failed(error, state) {
  say("Failed.");
  complain(explain(error instanceof Error ? error : { message: String(error) }, state), error instanceof Refused && error.lost);
}
