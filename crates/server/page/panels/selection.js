import { $, count, later } from "../view/dom.js";
/** @import {Output} from "../view/output.js" */
/** @import {TokenText} from "../view/text.js" */

/** The button for the most active features: of the selected tokens, or of the whole text. */
export class Selection {
  /** @type {{text: TokenText, chosen: Set<number>} | null} */
  #selected = null;

  /**
   * @param {Output} output
   * @param {(text: TokenText, chosen: Set<number> | null) => void} open
   */
  constructor(output, open) {
    this.output = output;
    document.addEventListener("selectionchange", later(() => this.#read(), 100));
    // The press would end the selection before the click.
    $("active").addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => event.preventDefault());
    $("active").addEventListener("click", () => {
      this.#read();
      if (this.#selected) open(this.#selected.text, this.#selected.chosen);
      else if (this.output.texts[0]) open(this.output.texts[0], null);
    });
  }

  #read() {
    const selection = getSelection();
    const range = selection && !selection.isCollapsed && selection.rangeCount > 0 ? selection.getRangeAt(0) : null;
    const text = range && this.output.all.find(({ element }) => range.intersectsNode(element));
    const chosen = new Set(text ? text.tokens.map((_, at) => at).filter((at) => text.within(at, range)) : []);
    this.#selected = text && chosen.size > 0 ? { text, chosen } : null;
    $("active").textContent = this.#selected ? `Most active in the selection (${count(chosen.size, "token")})` : "Most active features";
  }
}
