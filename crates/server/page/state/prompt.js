/** @import {Token} from "../types.d.ts" */

/** True for special tokens, which are structure and not text. */
export const special = (/** @type {{token: string}} */ { token }) => /^<\|.*\|>$/s.test(token);

/**
 * Assigns each prompt token its piece of the text. A character that consists of several tokens is
 * assigned to the last of them, because the tokens themselves are bytes that are not valid UTF-8.
 * @param {Token[]} tokens
 * @param {string[]} texts the texts that were sent, in order
 */
export function fillIn(tokens, texts) {
  let rest = texts.join("\0");
  for (let at = 0; at < tokens.length; at++) {
    const { token } = tokens[at];
    if (special(tokens[at])) {
      // It may have been written in the text, where its spelling is otherwise read as characters.
      const next = tokens[at + 1]?.token;
      if (rest.startsWith(token) && !(next && token.startsWith(next))) rest = rest.slice(token.length);
      continue;
    }
    if (!token.includes("\ufffd")) {
      // Between two messages there are special tokens.
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
