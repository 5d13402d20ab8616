import { $, narrow } from "../view/dom.js";
import { activePanel } from "./active-panel.js";
import { featurePanel } from "./feature-panel.js";
import { Inspector } from "./inspector.js";
import { say } from "../view/say.js";
import { tokenPanel } from "./token-panel.js";
import { onRename } from "../state/names.js";
/** @import {About, View} from "../types.d.ts" */
/** @import {Output} from "../view/output.js" */
/** @import {TokenText} from "../view/text.js" */

/**
 * The view in the panel beside the text: a token, a feature, or the most active features. Tells its owner, so
 * that the address has it.
 */
export class Views {
  /** Hook points whose lists are expanded. @type {Set<string>} */
  #wide = new Set();
  /** @type {{text: TokenText, at: number} | null} */
  #token = null;

  /**
   * @param {About} about
   * @param {Output} output
   * @param {{nothing: () => Node, steer: (hook: string, feature: number) => void, shade: (hook: string, feature: number) => void, opened: (hook: string, feature: number) => void, failed: (error: unknown) => void, named: () => void, view: (view: View | null) => void, back: (view: View | null) => boolean, link: (view: View | null) => string}} owner
   */
  constructor(about, output, owner) {
    this.about = about;
    this.output = output;
    this.owner = owner;
    this.inspector = new Inspector(owner.nothing, {
      left: () => {
        if (!this.inspector.open) this.#unmark();
        owner.view(this.view);
      },
      back: (key) => key !== "" && !key.startsWith("active:") && owner.back(viewOf(key)),
    });
    onRename(() => {
      if (!this.inspector.key.startsWith("feature:")) this.inspector.redraw();
    });
  }

  /** The open view, if it has a link. */
  get view() {
    return viewOf(this.inspector.key);
  }

  /**
   * Shows the view in a link. Returns false for what is not there; a token may have to wait for its text.
   * @param {View | null} view
   */
  show(view) {
    if (!view) {
      if (this.inspector.open) this.inspector.close(false);
      this.#unmark();
      return true;
    }
    if (view.kind === "feature") {
      const known = this.about.saes.some(({ hook, d_sae }) => hook === view.hook && view.feature < d_sae);
      if (known) this.feature(view.hook, view.feature, false);
      return known;
    }
    const text = this.output.texts[view.text];
    if (text?.tokens[view.at]) this.token(text, view.at, "step");
    return text?.tokens[view.at] !== undefined;
  }

  /** Takes the mark off the token that was shown. */
  #unmark() {
    this.#token?.text.choose(-1);
    this.#token = null;
  }

  /** Removes everything of a text that is no longer there. */
  blank() {
    this.#token = null;
    if (/^(token|active):/.test(this.inspector.key)) this.inspector.close(false);
  }

  /**
   * @param {TokenText} text
   * @param {number} at
   * @param {"pointer" | "key" | "step"} how
   */
  token(text, at, how) {
    const again = this.#token?.text === text && this.#token.at === at && this.inspector.key.startsWith("token:");
    this.#unmark();
    this.#token = { text, at };
    text.choose(at);
    const which = this.output.texts.indexOf(text);
    this.inspector.show(`token:${which < 0 ? "" : which}:${at}`, () => tokenPanel(text, at, this.output.beside(text, at), this.about, {
      feature: (hook, feature) => this.feature(hook, feature),
      token: (to, place) => this.token(to, place, "step"),
      link: which < 0 ? null : () => this.owner.link(this.view),
    }, this.#wide));
    if (narrow()) text.reveal(at, $("inspector").getBoundingClientRect().top);
    if (how === "key" && again) this.inspector.focus();
    else if (how === "key") say("Features are shown. Press Enter again to go there.");
    this.owner.view(this.view);
  }

  /** Takes note that the text of the open token is an earlier answer now. */
  kept() {
    if (!this.inspector.key.startsWith("token:")) return;
    if (this.#token?.text.element.isConnected) this.token(this.#token.text, this.#token.at, "step");
    else this.#gone();
  }

  /** True if a token of the text is shown, but not this one. @param {TokenText} text @param {number} at */
  follows(text, at) {
    return this.inspector.key.startsWith("token:") && this.#token?.text === text && this.#token.at !== at;
  }

  /**
   * @param {string} hook
   * @param {number} feature
   * @param {boolean} focus
   */
  feature(hook, feature, focus = true) {
    this.inspector.show(`feature:${hook}:${feature}`, () => featurePanel(this.about, hook, feature, {
      feature: (to, index) => this.feature(to, index),
      named: () => this.owner.named(),
      failed: (error) => this.owner.failed(error),
      steer: () => this.owner.steer(hook, feature),
      shade: () => this.owner.shade(hook, feature),
    }));
    if (focus) this.inspector.focus();
    this.owner.opened(hook, feature);
    this.owner.view(this.view);
  }

  /**
   * The most active features of a text, or of a selection of its tokens.
   * @param {TokenText} text
   * @param {Set<number> | null} chosen
   * @param {boolean} focus
   */
  active(text, chosen, focus = true) {
    this.#unmark();
    this.inspector.show(chosen === null ? "active:text" : "active:selection", () => {
      // Back from one of its features, the text may be another one.
      const of = chosen === null ? this.output.texts[0] ?? text : text;
      return activePanel(of, chosen, this.output.texts.length === 2 && chosen === null, this.about, {
        feature: (hook, feature) => this.feature(hook, feature),
        token: (at) => this.token(of, at, "step"),
      }, this.#wide);
    });
    if (focus) this.inspector.focus();
    this.owner.view(null);
  }

  /**
   * Shows the token that was shown in the text before, or that a link asks for, or the most active features of the
   * text that there is now. Returns false if the token of a link is not there.
   * @param {View | null} wanted
   */
  reopen(wanted) {
    const [text] = this.output.texts;
    const { key } = this.inspector;
    if (key === "active:text" && text) this.active(text, null, false);
    else if (key.startsWith("active:")) this.#gone();
    const open = this.view;
    const view = open ?? (this.inspector.open ? null : wanted);
    if (view?.kind !== "token") return true;
    const of = this.output.texts[view.text] ?? text;
    if (this.#token?.text === of) return true;
    if (of?.tokens[view.at]) {
      this.token(of, view.at, "step");
      return true;
    }
    if (open) this.#gone();
    return open !== null;
  }

  /** Closes the panel of something that the new text does not have. */
  #gone() {
    this.#unmark();
    this.inspector.close(false);
    this.owner.view(null);
  }
}

/** The view with a key of the panel, if it has a link. @param {string} key @returns {View | null} */
function viewOf(key) {
  const [, hook, feature] = /^feature:([^:]+):(\d+)$/.exec(key) ?? [];
  if (hook !== undefined) return { kind: "feature", hook, feature: Number(feature) };
  const [, text, at] = /^token:([01]):(\d+)$/.exec(key) ?? [];
  return text === undefined ? null : { kind: "token", text: Number(text), at: Number(at) };
}
