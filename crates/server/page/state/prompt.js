/** @import {Token} from "../types.d.ts" */

/** Structure, not text. */
export const special = (/** @type {{token: string}} */ { token }) => /^<\|.*\|>$/s.test(token);

/**
 * Gives the prompt's tokens their pieces of the text. A character that is made of several tokens has
 * its place at the last of them; what the tokens say themselves are its bytes, which are no text.
 * @param {Token[]} tokens
 * @param {string[]} texts what was sent, in the order in which it was read
 */
export function fillIn(tokens, texts) {
  let rest = texts.join("\0");
  for (let at = 0; at < tokens.length; at++) {
    const { token } = tokens[at];
    if (special(tokens[at])) continue;
    if (!token.includes("\ufffd")) {
      // Between two messages something was put that has a token of its own.
      if (rest.startsWith("\0")) rest = rest.slice(1);
      if (!rest.startsWith(token)) return;
      rest = rest.slice(token.length);
      continue;
    }
    let last = at;
    while (last + 1 < tokens.length && tokens[last + 1].token.includes("\ufffd")) last++;
    const next = tokens[last + 1];
    const found = !next || special(next) ? rest.indexOf("\0") : rest.indexOf(next.token);
    const end = found < 0 ? rest.length : found;
    tokens[last].piece = rest.slice(0, end);
    rest = rest.slice(end);
    at = last;
  }
}
