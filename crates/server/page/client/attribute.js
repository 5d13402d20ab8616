import { json } from "./api.js";
/** @import {Causes, Token} from "../types.d.ts" */

/** Number of causes that are listed. All of them are also computed exactly. */
const CAUSES = 20;
/** Number of tokens of the logit lens at each layer. */
const LENS = 3;
/** Number of likely tokens that are listed. */
const ALTERNATIVES = 5;

/**
 * Asks for the causes of the last of some tokens, compared with the likeliest other one, or for those of another
 * token in its place, compared with it.
 * @param {Token[]} tokens
 * @param {number | null} other the id of the other token
 * @param {AbortSignal} signal
 * @returns {Promise<Causes>}
 */
export function attribute(tokens, other, signal) {
  const ids = tokens.map(({ id }) => id);
  const body = {
    tokens: ids,
    position: ids.length - 2,
    ...(other !== null && { target: other, contrast: ids.at(-1) }),
    exact: CAUSES,
    top: CAUSES,
    lens: LENS,
    alternatives: ALTERNATIVES,
  };
  return json("/api/attribute", { method: "POST", body, signal });
}
