import { Refused, json } from "./client/api.js";
import { download } from "./view/download.js";
import { explain } from "./client/explain.js";
import { Controls } from "./panels/controls.js";
import { $, count, el, later, named, narrow, number, shown, visible } from "./view/dom.js";
import { experiments } from "./panels/experiments.js";
import { featureData, featurePanel } from "./panels/feature-panel.js";
import { finder } from "./panels/finder.js";
import { askForKey, onKey } from "./panels/key-form.js";
import { Inspector } from "./panels/inspector.js";
import { label, onRename } from "./state/names.js";
import { Output } from "./view/output.js";
import { fileName, madeElsewhere, readRecording } from "./state/recording.js";
import { exported, replay } from "./panels/recordings.js";
import { run } from "./client/run.js";
import { SEEDS, fromFragment, toFragment } from "./state/share.js";
import { parseShade, place, writeShade } from "./state/spec.js";
import { shareLink } from "./panels/share-link.js";
import { Steering } from "./panels/steering.js";
import { valueOf } from "./view/shade.js";
import { tokenPanel } from "./panels/token-panel.js";
/** @import {About, Recording, Shade, State} from "./types.d.ts" */
/** @import {TokenText} from "./view/text.js" */

/** Delay between the last change of a setting and the run, in ms. */
const REST = 250;
/** The interval between announcements of progress, in ms. */
const ANNOUNCE = 10_000;

class Page {
  /** @type {State} */
  state;
  running = new AbortController();
  /** The last run, and whether it has finished. @type {{state: State, finished: boolean} | null} */
  last = null;
  /** @type {Set<string>} */
  #wide = new Set();
  /** @type {{text: TokenText, at: number} | null} */
  #token = null;
  /** @type {Shade[]} */
  #opened = [];

  /** @param {About} about */
  constructor(about) {
    this.about = about;
    this.state = fromFragment(location.hash).state;
    const state = () => this.state;
    this.later = later(() => this.go(), REST);
    this.controls = new Controls(state, about, { run: () => this.send(), changed: () => this.changed(), mode: () => this.switched() });
    this.steering = new Steering(state, { changed: () => this.changed(), open: (hook, feature) => this.openFeature(hook, feature) });
    this.inspector = new Inspector(() => this.#nothing());
    this.output = new Output({ shade: () => this.shade, point: (text, at) => this.point(text, at), open: (text, at, how) => this.openToken(text, at, how) });
    $("steer-finder").append(finder(about, "Steer a feature", (hook, feature) => this.steer(hook, feature)));
    this.#wire();
    onRename(() => {
      this.#shades();
      if (this.inspector.key.startsWith("token:")) this.inspector.redraw();
    });
  }

  /** The feature that shades the tokens. @returns {Shade | null} */
  get shade() {
    const deepest = this.about.saes.at(-1);
    return this.state.shade ?? (deepest ? { hook: deepest.hook, feature: null } : null);
  }

  start() {
    const { saes, name, version, model } = this.about;
    $("about").textContent = `${name} · ${model.n_layer} layers · ${saes.length} ${saes.length === 1 ? "SAE" : "SAEs"} · ${version}`;
    $("main").hidden = false;
    $("key").hidden = true;
    const none = saes.length === 0;
    for (const id of ["legend", "steer-finder", "no-steer"]) $(id).classList.toggle("absent", none);
    $("compare").closest("label").classList.toggle("absent", none);
    $("no-sae").hidden = !none;
    for (const { hook, feature } of this.state.steer) featureData(this.about, hook, feature).then(() => {
        this.steering.draw();
        this.#shades();
      }, () => {});
    experiments(this.about, (steer) => this.experiment(steer));
    this.load();
  }

  /** Loads the state from the address and runs it. */
  load() {
    const { state, unknown } = fromFragment(location.hash);
    this.state = state;
    this.last = null;
    this.controls.draw();
    this.steering.draw();
    this.#shades();
    this.#blank();
    if (unknown.length > 0) this.#fail(new Refused(`The link contains parts that this page does not understand: ${unknown.map(visible).join(", ")}`, 0));
    else if (state.mode === "story" || state.messages.at(-1)?.role === "user") this.go();
  }

  #wire() {
    $("stop").addEventListener("click", () => this.stop());
    $("dice").addEventListener("click", () => {
      this.state.seed = Math.floor(Math.random() * Math.min(SEEDS, 1e6));
      $("seed").value = String(this.state.seed);
      $("seed").dispatchEvent(new Event("input"));
      this.controls.draw();
      this.go();
    });
    $("fresh").addEventListener("click", () => {
      this.state.messages = [];
      this.last = null;
      this.controls.draw();
      this.#blank();
      $("prompt").focus();
    });
    $("shade").addEventListener("change", () => {
      this.state.shade = parseShade($("shade").value);
      this.#shades();
      this.output.reshade();
      this.#address();
    });
    $("share").addEventListener("click", () => this.share());
    $("export").addEventListener("click", () => this.export());
    $("open").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", async () => {
      const [file] = $("file").files;
      if (file) await this.open(file);
      // So that the same file can be opened again.
      $("file").value = "";
    });
    $("skip").addEventListener("click", (/** @type {Event} */ event) => {
      event.preventDefault();
      $("output").focus();
    });
    addEventListener("hashchange", () => {
      if (location.hash !== toFragment(this.state)) this.load();
    });
    addEventListener("keydown", (event) => {
      const typing = event.target instanceof HTMLElement && event.target.matches("input:not([type=range], [type=checkbox], [type=radio]), textarea, select");
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.send();
      } else if (event.key === "Escape" && !event.defaultPrevented) {
        if (!$("stop").hidden) this.stop();
        else if (this.inspector.open) this.inspector.close();
      } else if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        $("steer-finder").querySelector("input").focus();
      }
    });
  }

  /** @param {State["steer"]} steer */
  experiment(steer) {
    this.state.steer = structuredClone(steer);
    this.state.shade = steer.length > 0 ? { hook: steer[0].hook, feature: steer[0].feature } : null;
    if (this.state.mode === "chat" && this.state.messages.length === 0) this.state.messages = [{ role: "user", content: "Tell me a story." }];
    this.controls.draw();
    this.steering.draw();
    this.#shades();
    this.go();
    this.#look();
  }

  /** Scrolls to the text on narrow screens, where it is below the controls. */
  #look() {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (narrow()) $("output").scrollIntoView({ block: this.state.mode === "chat" ? "nearest" : "start", behavior: still ? "auto" : "smooth" });
  }

  /** Runs the prompt, or sends the message in the box. */
  send() {
    const { mode, messages } = this.state;
    if (mode === "chat") {
      const text = $("prompt").value.trim();
      if (text !== "") {
        // A conversation continues from the steered answer.
        const answer = this.last?.state.mode === "chat" ? this.output.written(0) : "";
        if (answer !== "") messages.push({ role: "assistant", content: answer });
        // A message without an answer is replaced, because roles must alternate.
        else if (messages.at(-1)?.role === "user") messages.pop();
        messages.push({ role: "user", content: text });
        $("prompt").value = "";
        this.controls.draw();
        this.output.begin({ compare: false, steered: false, chat: true });
      } else if (messages.length === 0) {
        $("prompt").focus();
        return;
      }
    }
    this.go();
    this.#look();
  }

  /** Runs again after a strength, feature or setting has changed. */
  changed() {
    this.later();
  }

  switched() {
    this.last = null;
    this.#blank();
    this.#error("");
    if (this.state.mode === "story" || this.state.messages.length > 0) this.go();
    else $("prompt").focus();
  }

  stop() {
    this.running.abort();
  }

  /** Stops the run without a word, and clears everything that belongs to its text. */
  #blank() {
    this.later.cancel();
    this.running.abort();
    this.running = new AbortController();
    this.#busy(false);
    this.output.begin({ compare: false, steered: false, chat: false });
    this.output.reshade();
    this.steering.report(undefined);
    this.#notice("");
    this.#token = null;
    if (this.inspector.key.startsWith("token:")) this.inspector.close();
    for (const id of ["point", "progress"]) $(id).textContent = "";
    $("export").disabled = true;
    $("panes").style.minHeight = "";
    $("empty").hidden = this.state.mode === "story" || this.state.messages.length > 0;
  }

  async go() {
    const { state } = this;
    if (state.mode === "chat" && state.messages.length === 0) return;
    this.later.cancel();
    this.running.abort();
    $("empty").hidden = true;
    this.#notice("");
    if (this.controls.wrong) {
      this.#fail(new Refused(this.controls.wrong, 0));
      return;
    }
    const own = (this.running = new AbortController());
    const { signal } = own;
    const compare = state.compare && state.steer.length > 0;
    this.last = { state: structuredClone(state), finished: false };
    this.#address();
    this.#error("");
    this.#busy(true);
    $("progress").textContent = state.compare && !compare ? "Steer a feature to have something to compare." : "";
    this.say("Generating.");
    let [begun, tokens, announced] = [0, 0, performance.now()];
    // The previous text stays until the first token arrives, so that nothing moves under a slider.
    const begin = () => {
      if (begun > 0) return;
      begun = performance.now();
      this.#token = null;
      $("panes").style.minHeight = `${$("panes").offsetHeight}px`;
      this.output.begin({ compare, steered: state.steer.length > 0, chat: state.mode === "chat" });
    };
    const rate = () => `${count(tokens, "token")} · ${number(tokens / Math.max(0.001, (performance.now() - begun) / 1000), 2)}/s`;
    try {
      await run(this.last.state, this.about, signal, {
        prompt: (choice, some) => {
          begin();
          this.output.prompt(choice, some);
        },
        token: (choice, token) => {
          begin();
          this.output.token(choice, token);
          tokens++;
          if (tokens % 8 === 0) $("progress").textContent = rate();
          if (performance.now() - announced > ANNOUNCE) {
            announced = performance.now();
            this.say(`${count(tokens, "token")} so far.`);
          }
        },
        end: (choice, ending) => {
          begin();
          this.output.end(choice, ending);
          if (choice === 0) this.steering.report(ending.applied);
        },
      });
      this.output.compared();
      this.last.finished = true;
      $("progress").textContent = rate();
      this.say(`Done: ${count(tokens, "token")}.`);
      this.#reopen();
    } catch (error) {
      if (this.running !== own) return;
      for (const text of this.output.texts) text.flush();
      if (signal.aborted) {
        $("progress").textContent = "Stopped.";
        this.say("Stopped.");
      } else this.#fail(error);
    } finally {
      if (this.running === own) {
        this.#busy(false);
        $("panes").style.minHeight = "";
      }
    }
  }

  /** @param {boolean} busy */
  #busy(busy) {
    const focused = document.activeElement;
    $("stop").hidden = !busy;
    $("run").hidden = busy;
    if (focused === $("run") && busy) $("stop").focus();
    if (focused === $("stop") && !busy) $("run").focus();
    $("export").disabled = busy || !this.last;
    $("output").setAttribute("aria-busy", String(busy));
  }

  /** @param {unknown} error */
  #fail(error) {
    if (error instanceof Refused && error.status === 401) {
      askForKey();
      return;
    }
    this.say("Failed.");
    this.#error(explain(error instanceof Error ? error : { message: String(error) }, this.last?.state ?? this.state));
  }

  /** @param {string} message */
  #notice(message) {
    $("notice").textContent = visible(message);
    $("notice").hidden = message === "";
  }

  /** @param {string} message */
  #error(message) {
    $("error").textContent = visible(message);
    $("error").hidden = message === "";
  }

  /** @param {string} message */
  say(message) {
    $("status").textContent = message;
  }

  /**
   * @param {string} hook
   * @param {number} feature
   */
  async steer(hook, feature) {
    // The feature's maximum determines the initial strength.
    await featureData(this.about, hook, feature).catch(() => {});
    this.steering.add(hook, feature);
    this.#shades();
  }

  /**
   * @param {TokenText} text
   * @param {number} at
   * @param {"pointer" | "key" | "step"} how
   */
  openToken(text, at, how) {
    const again = this.#token?.text === text && this.#token.at === at && this.inspector.key.startsWith("token:");
    if (this.#token) this.#token.text.choose(-1);
    this.#token = { text, at };
    text.choose(at);
    this.inspector.show(`token:${at}`, () => tokenPanel(text, at, this.output.beside(text, at), this.about, { feature: (hook, feature) => this.openFeature(hook, feature), token: (to, place) => this.openToken(to, place, "step") }, this.#wide));
    if (narrow()) text.reveal(at, $("inspector").getBoundingClientRect().top);
    if (how === "key" && again) this.inspector.focus();
    else if (how === "key") this.say("Features are shown. Press Enter again to go there.");
  }

  /**
   * @param {string} hook
   * @param {number} feature
   */
  openFeature(hook, feature) {
    this.#opened = [{ hook, feature }, ...this.#opened.filter((one) => one.hook !== hook || one.feature !== feature)].slice(0, 6);
    this.inspector.show(`feature:${hook}:${feature}`, () => featurePanel(this.about, hook, feature, {
      feature: (to, index) => this.openFeature(to, index),
      failed: (error) => error instanceof Refused && error.status === 401 && this.#fail(error),
      steer: () => this.steer(hook, feature),
      shade: () => {
        this.state.shade = { hook, feature };
        this.#shades();
        this.output.reshade();
        this.#address();
      },
    }));
    this.inspector.focus();
    this.#shades();
  }

  /** Reopens the token that was open, in the new text. */
  #reopen() {
    const at = Number(/^token:(\d+)$/.exec(this.inspector.key)?.[1] ?? -1);
    const [text] = this.output.texts;
    if (this.#token || at < 0 || !text?.tokens[at]) return;
    this.openToken(text, at, "step");
  }

  /**
   * @param {TokenText} text
   * @param {number} at
   */
  point(text, at) {
    const token = text.tokens[at];
    $("point").replaceChildren(el("span", { class: "token" }, shown(token.token)), ` ${number(valueOf(token, this.shade))}`);
    const follows = this.inspector.key.startsWith("token:") && this.#token?.text === text && this.#token.at !== at;
    if (follows && document.activeElement instanceof HTMLElement && document.activeElement.matches(`[data-at="${at}"]:focus-visible`)) this.openToken(text, at, "step");
  }

  /** The choices for shading: the strongest feature of a layer, and features that were opened. */
  #shades() {
    const { shade } = this;
    if (!shade) return;
    /** @type {Map<string, Shade>} */
    const seen = new Map();
    for (const one of [this.state.shade, ...this.state.steer, ...this.#opened]) if (one && one.feature !== null) seen.set(writeShade({ hook: one.hook, feature: one.feature }), one);
    const name = (/** @type {Shade} */ { hook, feature }) => `${named(label(hook, feature ?? 0)) || "no label"} · ${place(hook)} #${feature}`;
    $("shade").replaceChildren(
      el("optgroup", { label: "Strongest feature" }, ...this.about.saes.map(({ hook }) => el("option", { value: hook }, `strongest of ${place(hook)}`)).reverse()),
      ...(seen.size > 0 ? [el("optgroup", { label: "One feature" }, ...[...seen].map(([value, one]) => el("option", { value }, name(one))))] : []));
    $("shade").value = writeShade(shade);
  }

  #address() {
    try {
      history.replaceState(null, "", toFragment(this.state));
    } catch {
      // Browsers throttle this call; Share still has the current link.
    }
  }

  async share() {
    if (await shareLink(`${location.origin}${location.pathname}${toFragment(this.state)}`)) this.say("Link copied.");
  }

  /** Downloads the run as a file. */
  export() {
    if (!this.last) return;
    download(fileName(this.last.state), exported(this.last, this.output, this.about));
  }

  /**
   * Shows the run in a file, without running it again.
   * @param {File} file
   */
  async open(file) {
    /** @type {Recording} */
    let run;
    let found;
    try {
      run = readRecording(await file.text());
      found = fromFragment(run.link);
      if (found.unknown.length > 0) throw new Error(`its link has parts that this page does not understand: ${found.unknown.join(", ")}`);
    } catch (error) {
      this.#error(`${file.name} cannot be opened: ${/** @type {Error} */ (error).message}`);
      return;
    }
    const { state } = found;
    this.state = state;
    this.controls.draw();
    this.#blank();
    this.#error("");
    replay(run, state.mode === "chat", this.output);
    // The labels in the file are known now.
    this.steering.draw();
    this.#shades();
    this.steering.report(run.texts[0].applied);
    this.last = { state: structuredClone(state), finished: run.finished };
    this.#address();
    $("export").disabled = false;
    this.#notice(`Opened from ${file.name}. ${madeElsewhere(run, this.about)}`);
    this.say(`Opened ${file.name}.`);
  }

  #nothing() {
    if (this.about.saes.length === 0) return el("div", { class: "nothing" }, el("h2", {}, "No features"), el("p", {}, "This server has no SAE. A token shows its position, its number and its probability."));
    return el("div", { class: "nothing" },
      el("h2", {}, "Which features are active?"),
      el("p", {}, "Choose a token of the text to see its active features here, layer by layer, with their labels."),
      el("p", {}, "You can then steer a feature: strengthen it, hold it at a value, or switch it off. The text is generated again."),
      finder(this.about, "Look up a feature", (hook, feature) => this.openFeature(hook, feature)));
  }
}

/** @type {Page | null} */
let page = null;

async function boot() {
  try {
    const about = /** @type {About} */ (await json("/api/about"));
    if (page) {
      $("key").hidden = true;
      page.go();
    } else {
      page = new Page(about);
      page.start();
    }
  } catch (error) {
    if (error instanceof Refused && error.status === 401) askForKey();
    else $("about").textContent = error instanceof Error ? error.message : String(error);
  }
}

onKey(boot);
boot();
