import { $, narrow } from "../view/dom.js";
import { activePanel } from "./active-panel.js";
import { featurePanel } from "./feature-panel.js";
import { Inspector } from "./inspector.js";
import { say } from "../view/say.js";
import { tokenPanel } from "./token-panel.js";
import { Why } from "./why.js";
import { obstacle } from "../state/causes.js";
import { onRename } from "../state/names.js";
/** @import {About, Run, Token, View, WhyView} from "../types.d.ts" */
/** @import {Output} from "../view/output.js" */
/** @import {TokenText} from "../view/text.js" */

/**
 * The view in the panel beside the text: a token, its causes, a feature, or the most active features. Tells its
 * owner, so that the address has it.
 */
export class Views {
  /** Hook points whose lists are expanded. @type {Set<string>} */
  #wide = new Set();
  /** @type {{text: TokenText, at: number} | null} */
  #token = null;
  /** The tokens up to the one whose causes were shown last. @type {Token[]} */
  #asked = [];

  /**
   * @param {About} about
   * @param {Output} output
   * @param {{nothing: () => Node, run: () => Run | null, turn: (steer: string) => Promise<void>, interventions: () => string[], steer: (hook: string, feature: number) => void, shade: (hook: string, feature: number) => void, opened: (hook: string, feature: number) => void, failed: (error: unknown) => void, named: () => void, view: (view: View | null) => void, back: (view: View | null) => boolean, link: (view: View | null) => string}} owner
   */
  constructor(about, output, owner) {
    this.about = about;
    this.output = output;
    this.owner = owner;
    this.why = new Why(output);
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
    if (!text?.tokens[view.at]) return false;
    this.token(text, view.at, "step");
    if (view.kind === "why") this.causes(text, view.at, view.other, false);
    return true;
  }

  /** Takes the mark off the token that was shown. */
  #unmark() {
    this.#token?.text.choose(-1);
    this.#token = null;
  }

  /** Removes everything of a text that is no longer there. */
  blank() {
    this.#token = null;
    if (/^(token|why|active):/.test(this.inspector.key)) this.inspector.close(false);
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
      why: () => this.causes(text, at, null),
      obstacle: this.#obstacle(text, at),
      link: which < 0 ? null : () => this.owner.link(this.view),
    }, this.#wide));
    if (narrow()) text.reveal(at, $("inspector").getBoundingClientRect().top);
    if (how === "key" && again) this.inspector.focus();
    else if (how === "key") say("Features are shown. Press Enter again to go there.");
    this.owner.view(this.view);
  }

  /**
   * The reason why no causes of a token can be shown; empty if they can be.
   * @param {TokenText} text
   * @param {number} at
   */
  #obstacle(text, at) {
    return obstacle(this.output.upTo(text, at), this.owner.run()?.origin, this.about);
  }

  /**
   * The causes of a token, or of the alternative with the id `other` in its place.
   * @param {TokenText} text
   * @param {number} at
   * @param {number | null} other
   * @param {boolean} focus
   */
  causes(text, at, other, focus = true) {
    const tokens = this.output.upTo(text, at);
    if (!tokens || this.#obstacle(text, at) !== "") return;
    this.#unmark();
    this.#token = { text, at };
    this.#asked = tokens;
    text.choose(at);
    const which = this.output.texts.indexOf(text);
    const steered = which !== 1 && (this.owner.run()?.state.steer.length ?? 0) > 0;
    this.inspector.show(`why:${which < 0 ? "" : which}:${at}:${other ?? ""}`, () => this.why.panel({ text, at, other, tokens, steered }, {
      feature: (hook, feature) => this.feature(hook, feature),
      token: (position) => this.#position(text, tokens, position),
      ask: (to) => this.causes(text, at, to),
      turn: (steer) => this.owner.turn(steer).then(() => this.inspector.redraw()),
      interventions: this.owner.interventions(),
      cancel: () => this.inspector.back(),
      focus: () => this.inspector.focus(),
      failed: this.owner.failed,
    }, this.#wide), () => this.why.leave());
    if (focus) this.inspector.focus();
    this.owner.view(this.view);
  }

  /**
   * Shows the token at a position of the model's context.
   * @param {TokenText} text the one that was asked about
   * @param {Token[]} tokens the context
   * @param {number} position
   */
  #position(text, tokens, position) {
    const texts = [text, ...(this.output.read ?? []), ...this.output.kept.values()];
    for (const one of texts) {
      const at = one.tokens.findIndex((token) => token.position === position && token.id === tokens[position].id);
      if (at >= 0) return this.token(one, at, "step");
    }
  }

  /**
   * Shows the causes of a token again after a run, if a text still has that token after the same ones, and the
   * token itself otherwise. Returns false if there is none.
   * @param {WhyView} view
   */
  #again(view) {
    const same = (/** @type {TokenText} */ text) => {
      const tokens = this.output.upTo(text, view.at);
      return tokens?.length === this.#asked.length && tokens.every(({ id }, n) => id === this.#asked[n].id);
    };
    const found = this.output.texts.findLast(same);
    const text = found ?? this.output.texts[view.text] ?? this.output.texts[0];
    if (!text?.tokens[view.at]) return false;
    const { scrollTop } = $("view");
    const focused = $("inspector").contains(document.activeElement) ? document.activeElement : null;
    this.token(text, view.at, "step");
    if (!found) return true;
    this.causes(text, view.at, view.other, false);
    $("view").scrollTop = scrollTop;
    if (focused instanceof HTMLElement) this.inspector.focus(focused.dataset.keep);
    return true;
  }

  /** Takes note that the text of the open token is an earlier answer now. */
  kept() {
    if (!/^(token|why):/.test(this.inspector.key)) return;
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
    if (!view || view.kind === "feature") return true;
    const of = this.output.texts[view.text] ?? text;
    if (this.#token?.text === of) return true;
    if (open?.kind === "why" ? this.#again(open) : this.show({ ...view, text: this.output.texts.indexOf(of) })) return true;
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
  const [, kind, text, at, other] = /^(token|why):([01]):(\d+)(?::(\d*))?$/.exec(key) ?? [];
  if (text === undefined) return null;
  const place = { text: Number(text), at: Number(at) };
  return kind === "token" ? { kind, ...place } : { kind: "why", ...place, other: other ? Number(other) : null };
}
