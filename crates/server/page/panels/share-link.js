import { $ } from "../view/dom.js";

/**
 * Copies a link to the clipboard, or shows it where that is not allowed. Resolves to true if it is
 * copied.
 * @param {string} link
 */
export async function shareLink(link) {
  $("link").value = link;
  try {
    await navigator.clipboard.writeText(link);
    $("share").textContent = "Copied";
    setTimeout(() => ($("share").textContent = "Share"), 1500);
    return true;
  } catch {
    $("shared").hidden = false;
    $("link").select();
    return false;
  }
}
