import { $, el } from "../view/dom.js";

/**
 * The panel beside the text, or a sheet over its lower part on narrow screens. It has a stack of views.
 */
export class Inspector {
  /** @type {{key: string, draw: () => Node, left: () => void}[]} */
  #views = [];
  /** The view on top when the panel was drawn last. @type {{left: () => void} | undefined} */
  #drawn;
  /** @type {HTMLElement | null} */
  #from = null;

  /**
   * @param {() => Node} nothing draws the panel while no view is open
   * @param {{left: () => void, back: (key: string) => boolean}} owner `left` is called when the user has left a view;
   * `back` returns true if it shows the view below by going back in the browser's history
   */
  constructor(nothing, owner) {
    this.nothing = nothing;
    this.owner = owner;
    $("close").addEventListener("click", () => this.close());
    $("back").addEventListener("click", () => this.back());
    this.#draw();
  }

  get open() {
    return this.#views.length > 0;
  }

  /** The key of the view on top. */
  get key() {
    return this.#views.at(-1)?.key ?? "";
  }

  /**
   * Shows a view. The view of a token or of the most active features replaces all others; other views go on top.
   * @param {string} key its kind, a colon and its subject
   * @param {() => Node} draw
   * @param {() => void} left is called when the view is no longer on top
   */
  show(key, draw, left = () => {}) {
    const kind = (/** @type {string} */ of) => of.split(":")[0];
    if (this.#views.length === 0) this.#from = /** @type {HTMLElement | null} */ (document.activeElement);
    if (["token", "active"].includes(kind(key))) this.#views = [];
    // A view that is below already is gone back to.
    const below = this.#views.findIndex((view) => view.key === key);
    if (below >= 0) this.#views.length = below;
    this.#views.push({ key, draw, left });
    if (this.#views.length > 20) this.#views.shift();
    this.#draw();
  }

  /** Redraws the view on top. */
  redraw() {
    if (this.open) this.#draw(false);
  }

  back() {
    if (this.owner.back(this.#views.at(-2)?.key ?? "")) return;
    this.#views.pop();
    this.#draw();
    if (this.open) this.focus();
    else this.#leave();
    this.owner.left();
  }

  /** @param {boolean} byUser false if the page closes the panel */
  close(byUser = true) {
    this.#views = [];
    this.#draw();
    this.#leave();
    if (byUser) this.owner.left();
  }

  /** Focuses the control that `keep` marks, or else the title. @param {string} [keep] */
  focus(keep) {
    const control = keep === undefined ? null : $("view").querySelector(`[data-keep="${CSS.escape(keep)}"]`);
    (control ?? $("inspector").querySelector("h2"))?.focus({ preventScroll: control !== null });
  }

  #leave() {
    const inside = $("inspector").contains(document.activeElement) || document.activeElement === document.body;
    if (inside && this.#from?.isConnected) this.#from.focus({ preventScroll: true });
  }

  #draw(top = true) {
    const view = this.#views.at(-1);
    const inspector = $("inspector");
    const within = inspector.contains(document.activeElement);
    const keep = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.keep : undefined;
    if (this.#drawn !== view) this.#drawn?.left();
    this.#drawn = view;
    $("view").replaceChildren(view ? view.draw() : this.nothing());
    inspector.classList.toggle("open", this.open);
    $("back").hidden = this.#views.length < 2;
    $("close").hidden = !this.open;
    if (top) $("view").scrollTop = 0;
    if (within && this.open && !inspector.contains(document.activeElement)) this.focus(keep);
  }
}

/**
 * A view's title, which receives the focus when the view is shown.
 * @param {...(Node | string)} children
 */
export const title = (...children) => el("h2", { tabindex: -1 }, ...children);
