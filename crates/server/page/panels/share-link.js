import { copy, sayCopied } from "../view/copy.js";
import { $ } from "../view/dom.js";

/**
 * Copies a link to the clipboard, or shows it where that is not allowed. Resolves to true if it is
 * copied.
 * @param {string} link
 */
export async function shareLink(link) {
  $("link").value = link;
  const done = await copy(link);
  if (done) {
    sayCopied($("share"), "Share");
  } else {
    $("shared").hidden = false;
    $("link").select();
  }
  return done;
}
