import { Refused } from "./client/api.js";
import { $, later, narrow, visible } from "./view/dom.js";
import { Output } from "./view/output.js";
import { Controls } from "./panels/controls.js";
import { featureData } from "./inspect/feature-data.js";
import { wireFiles } from "./panels/files.js";
import { finder } from "./panels/finder.js";
import { HoverCard } from "./panels/hover-card.js";
import { askForKey } from "./panels/key-form.js";
import { complain, failed, notice } from "./panels/messages.js";
import { say } from "./view/say.js";
import { noFeatures, noSae } from "./panels/nothing.js";
import { pinList } from "./inspect/pin-list.js";
import { replay } from "./panels/recordings.js";
import { Runner } from "./panels/runner.js";
import { Selection } from "./panels/selection.js";
import { Shading } from "./panels/shading.js";
import { shareLink } from "./panels/share-link.js";
import { wireShortcut } from "./panels/shortcut.js";
import { Steering } from "./panels/steering.js";
import { drawTopics } from "./panels/topics.js";
import { Views } from "./inspect/views.js";
import { Address } from "./state/address.js";
import { nameOf, onRename, useNamesOf } from "./state/names.js";
import { madeElsewhere } from "./state/recording.js";
import { SEEDS, fromFragment, runOf, toFragment } from "./state/share.js";
import { parseSpec, resolve, writeSpec } from "./state/spec.js";
/** @import {About, Hit, Intervention, Recording, State, View} from "./types.d.ts" */
/** @import {TokenText} from "./view/text.js" */

/** Delay between the last change of a setting and the run, in ms. */
const REST = 250;
/** Maximum number of characters of the subject in the page's title. */
const TITLE = 60;

/** The page of a server: its state, and what the parts of the page do to it. */
export class Page {
  /** @type {State} */
  state;
  /** True once the user has chosen whether to compare. */
  #chosen = false;

  /** @param {About} about */
  constructor(about) {
    this.about = about;
    this.state = this.#parse().state;
    const state = () => this.state;
    this.address = new Address(state);
    this.later = later(() => this.go(), REST);
    this.controls = new Controls(state, about, {
      run: () => this.send(),
      changed: () => this.changed(),
      mode: () => this.switched(),
      compare: () => {
        this.#chosen = true;
        this.changed();
      },
      answer: (message) => this.#answer(message),
    });
    this.shading = new Shading(state, about, () => {
      this.output.reshade();
      this.address.write("replace");
    });
    this.hover = new HoverCard(() => this.shading.now, about);
    this.output = new Output({ shade: () => this.shading.now, point: (text, at, how) => this.point(text, at, how), leave: () => this.hover.hide(), open: (text, at, how) => this.open(text, at, how) });
    this.steering = new Steering(state, about, { changed: () => this.changed(), slid: () => this.slid(), open: (hook, feature) => this.views.feature(hook, feature) });
    this.runner = new Runner(about, this.output, {
      begun: () => this.#begun(),
      end: (choice, ending) => choice === 0 && this.steering.report(ending.applied, ending.fluency, this.output.texts[0].tokens),
      finished: () => this.#settled(),
      cut: () => this.#cut(),
      failed: (error, state) => this.#fail(error, state),
    });
    this.views = new Views(about, this.output, {
      nothing: () => noFeatures(about, (hit) => this.views.feature(hit.hook, hit.index)),
      run: () => this.runner.last,
      turn: (steer) => this.#turn(steer),
      interventions: () => this.state.steer.map(writeSpec),
      steer: (hook, feature) => this.steer(hook, feature),
      shade: (hook, feature) => this.shading.use({ hook, feature }),
      opened: (hook, feature) => this.shading.opened(hook, feature),
      failed: (error) => error instanceof Refused && error.status === 401 && this.#fail(error, null),
      named: () => this.#entitle(),
      view: (view) => this.#view(view),
      back: (view) => this.address.back(view),
      link: (view) => this.#link(view),
    });
    this.selection = new Selection(this.output, (text, chosen) => this.views.active(text, chosen));
    this.markTopics = drawTopics(about, (steer, prompt) => this.topic(steer, prompt));
    $("steer-finder").append(finder(about, "Find a feature", (hit) => this.#found(hit)));
    pinList(about, (hook, feature) => this.views.feature(hook, feature));
    this.updatePlain = wireFiles(about, this.output, { last: () => this.runner.last, opened: (file, run, opened) => this.opened(file, run, opened), failed: complain, say });
    this.#wire();
    onRename(() => {
      this.shading.draw();
      this.#entitle();
    });
  }

  start() {
    const { saes, name, version, model } = this.about;
    $("about").textContent = `${name} · ${model.n_layer} layers · ${saes.length} ${saes.length === 1 ? "SAE" : "SAEs"} · ${version}`;
    const none = saes.length === 0;
    for (const id of ["steer-finder", "no-steer", "active"]) $(id).classList.toggle("absent", none);
    $("compare").closest("label").classList.toggle("absent", none);
    $("no-sae").hidden = !none;
    if (none) $("no-sae").replaceChildren(...noSae(this.about));
    this.load();
  }

  /** The state in the address, with the hook points that it refers to. */
  #parse() {
    const { state, unknown } = fromFragment(location.hash);
    for (const spec of state.steer) spec.hook = resolve(spec.hook, this.about);
    if (state.shade) state.shade.hook = resolve(state.shade.hook, this.about);
    if (state.view?.kind === "feature") state.view.hook = resolve(state.view.hook, this.about);
    return { state, unknown };
  }

  /** Loads the state from the address and runs it. */
  load() {
    const { state, unknown } = this.#parse();
    this.state = state;
    this.runner.forget();
    this.#draw();
    this.#blank();
    if (unknown.length > 0) this.#fail(new Refused(`The link contains parts that this page does not understand: ${unknown.map(visible).join(", ")}`, 0), null);
    else if (state.mode === "story" || state.messages.at(-1)?.role === "user") this.#run();
    this.#show(state.view);
    this.#entitle();
  }

  #draw() {
    this.controls.draw();
    this.steering.draw();
    this.shading.draw();
    this.markTopics(this.state.steer);
    this.#learnNames();
  }

  /** Loads the names of the features that are steered or shade the text. */
  #learnNames() {
    const { steer, shade } = this.state;
    for (const { hook, feature } of [...steer, ...(shade && this.shading.has(shade) ? [shade] : [])]) if (feature !== null) featureData(this.about, hook, feature).then(() => this.#renamed(), () => {});
  }

  /** Draws the names of features that have become known. */
  #renamed() {
    this.steering.draw();
    this.shading.draw();
  }

  #wire() {
    $("stop").addEventListener("click", () => this.runner.stop());
    $("dice").addEventListener("click", () => {
      this.state.seed = Math.floor(Math.random() * Math.min(SEEDS, 1e6));
      $("seed").value = String(this.state.seed);
      $("seed").dispatchEvent(new Event("input"));
      this.controls.draw();
      this.go();
    });
    $("fresh").addEventListener("click", () => {
      this.state.messages = [];
      this.output.kept.clear();
      this.controls.draw();
      this.#anew();
      $("prompt").focus();
    });
    $("share").addEventListener("click", async () => {
      if (await shareLink(this.#link(this.state.view))) say("Link copied.");
    });
    addEventListener("hashchange", () => this.#travelled());
    addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.send();
      } else if (event.key === "Escape" && !event.defaultPrevented) {
        if (this.hover.open) this.hover.hide();
        else if (!$("stop").hidden) this.runner.stop();
        else if (this.views.inspector.open) this.views.inspector.close();
      }
    });
    if (this.about.saes.length > 0) wireShortcut(() => $("steer-finder").querySelector("input").focus());
  }

  /** Shows the state of an address that the user went to. Only its shading or its view may differ. */
  #travelled() {
    if (location.hash === toFragment(this.state)) return;
    const { state, unknown } = this.#parse();
    if (unknown.length > 0 || !this.runner.asked || runOf(state) !== runOf(this.state)) {
      this.load();
      return;
    }
    this.state.shade = state.shade;
    this.state.view = state.view;
    this.shading.draw();
    this.#learnNames();
    this.output.reshade();
    this.#show(state.view);
  }

  /** Shows the view in a link without adding to the history, and names what this server does not have. @param {View | null} view */
  #show(view) {
    const missing = [];
    const found = this.address.follow(() => this.views.show(view));
    if (!found && view?.kind === "feature") missing.push(`The link is to feature ${view.feature} of ${view.hook}. This server has no SAE with it.`);
    const { shade } = this.state;
    if (shade && !this.shading.has(shade)) {
      missing.push(`The link shades by ${shade.feature === null ? "" : `feature ${shade.feature} of `}${shade.hook}. This server has no SAE with it.`);
      this.shading.use(null);
    }
    if (missing.length > 0) notice(missing.join(" "));
    this.#entitle();
  }

  /**
   * Makes the text about a subject, or ends steering.
   * @param {Intervention[]} steer
   * @param {string | undefined} prompt
   */
  topic(steer, prompt) {
    this.state.steer = structuredClone(steer);
    if (this.state.mode === "chat") {
      if (this.state.messages.length === 0) this.state.messages = [{ role: "user", content: "Tell me a story." }];
    } else if (prompt && !this.controls.typed) {
      this.state.prompt = prompt;
    }
    this.#beforeAndAfter();
    this.#draw();
    this.go();
    this.#look();
  }

  /** Compares with the unsteered text from the first steering until the last ends, unless the user has chosen. */
  #beforeAndAfter() {
    const steered = this.state.steer.length > 0;
    const was = (this.runner.asked?.steer.length ?? 0) > 0;
    if ((steered || was) && !this.#chosen) this.controls.compare(steered);
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
      const text = this.controls.message();
      if (text !== "") {
        // A conversation continues from the steered answer.
        const answer = this.runner.last?.state.mode === "chat" ? this.output.written(0) : "";
        if (answer !== "") {
          this.output.forget(messages.length);
          this.output.keep(messages.length);
          messages.push({ role: "assistant", content: answer });
        } else if (messages.at(-1)?.role === "user") {
          // A message without an answer is replaced, because roles must alternate.
          messages.pop();
        }
        messages.push({ role: "user", content: text });
        this.controls.draw();
        this.runner.last = null;
        this.output.begin({ compare: false, steered: false, chat: true });
        this.address.follow(() => this.views.kept());
      } else if (messages.length === 0) {
        $("prompt").focus();
        return;
      }
    }
    this.go();
    this.#look();
  }

  /** The tokens of an earlier answer, if the page has them. @param {number} message */
  #answer(message) {
    const text = this.output.kept.get(message);
    return text && text.plain(false) === this.state.messages[message].content ? text.element : null;
  }

  /** Runs again after a feature or a setting has changed. */
  changed() {
    this.address.changed(false);
    if (this.state.steer.length === 0) this.#beforeAndAfter();
    this.shading.draw();
    this.later();
  }

  /** Runs again after a slider has moved. */
  slid() {
    this.later();
    this.address.changed(true);
  }

  switched() {
    this.#anew();
    complain("");
    if (this.state.mode === "story" || this.state.messages.length > 0) this.go();
    else $("prompt").focus();
  }

  /** Begins without a text: what was shown of the one before, in the panel too, is gone. */
  #anew() {
    this.runner.forget();
    if (this.state.view?.kind !== "feature") this.state.view = null;
    this.#blank();
    this.address.write("push");
    this.#entitle();
  }

  /** Stops the run without a word, and clears everything that belongs to its text. */
  #blank() {
    this.later.cancel();
    this.runner.cancel();
    useNamesOf(null);
    this.output.begin({ compare: false, steered: false, chat: false });
    this.output.reshade();
    this.steering.report(undefined);
    this.controls.prompted(0);
    notice("");
    this.views.blank();
    this.hover.hide();
    this.updatePlain();
    $("empty").hidden = this.state.mode === "story" || this.state.messages.length > 0;
  }

  /** Runs the state, with the prompt in the box. */
  async go() {
    this.controls.take();
    await this.#run();
  }

  async #run() {
    const { state } = this;
    if (state.mode === "chat" && state.messages.length === 0) return;
    this.later.cancel();
    this.hover.hide();
    $("empty").hidden = true;
    notice("");
    complain("");
    if (this.controls.wrong) {
      this.runner.cancel();
      this.#fail(new Refused(this.controls.wrong, 0), null);
      return;
    }
    this.markTopics(state.steer);
    this.address.ran(this.runner.asked);
    this.#entitle();
    await this.runner.go(state);
  }

  /** The first token of a run takes the place of the text before. */
  #begun() {
    this.hover.hide();
    this.steering.begun();
    useNamesOf(null);
  }

  /** The text is complete. */
  #settled() {
    this.updatePlain();
    if (this.output.recall(this.state.messages)) this.controls.thread();
    const [text] = this.output.read ?? this.output.texts;
    this.controls.prompted(text?.tokens.filter((token) => token.prompt).length ?? 0);
    this.#reopen();
  }

  /** The run has ended before its end: nothing is known of its effect. */
  #cut() {
    this.steering.report(undefined);
    this.updatePlain();
    this.#reopen();
  }

  /** Shows the open token or the most active features in the text that there is now. */
  #reopen() {
    const wanted = this.state.view;
    const found = this.address.follow(() => this.views.reopen(wanted));
    if (found || !wanted || wanted.kind === "feature") return;
    notice(`The link is to token ${wanted.at}, counted from 0. The text ends before it.`);
    this.state.view = null;
  }

  /**
   * @param {unknown} error
   * @param {State | null} state that of the run
   */
  async #fail(error, state) {
    if (error instanceof Refused && error.status === 401) {
      askForKey();
      return;
    }
    const now = this.runner.asked;
    // An error about an intervention names its feature.
    if (state && error instanceof Refused && error.param?.startsWith("nanoscope.steer")) await Promise.allSettled(state.steer.map(({ hook, feature }) => featureData(this.about, hook, feature)));
    // The user may have gone on while the names were loading.
    if (this.runner.asked === now) failed(error, state ?? this.state);
  }

  /** Steers by a hit of a search, with the strength that the server gives. @param {Hit} hit */
  #found({ hook, index, steer }) {
    const spec = parseSpec(steer ?? "");
    this.steer(hook, index, spec && { ...spec, hook: resolve(spec.hook, this.about) });
  }

  /** Turns a cause of a token off, or on again, and looks at the text. @param {string} steer */
  async #turn(steer) {
    const spec = parseSpec(steer);
    if (spec && !this.steering.drop(steer)) await this.steer(spec.hook, spec.feature, spec);
    this.#look();
  }

  /**
   * @param {string} hook
   * @param {number} feature
   * @param {Intervention | null} spec
   */
  async steer(hook, feature, spec = null) {
    // The names of the feature and of its neighbours.
    await featureData(this.about, hook, feature).catch(() => {});
    const first = this.state.steer.length === 0;
    this.steering.add(hook, feature, spec);
    if (first) this.#beforeAndAfter();
    this.shading.draw();
    this.output.reshade();
  }

  /**
   * @param {TokenText} text
   * @param {number} at
   * @param {"pointer" | "key"} how
   */
  point(text, at, how) {
    const focused = document.activeElement instanceof HTMLElement && document.activeElement.matches(`[data-at="${at}"]:focus-visible`);
    if (how === "pointer" || focused) this.hover.show(text, at);
    if (this.views.follows(text, at) && focused) this.views.token(text, at, "step");
  }

  /**
   * @param {TokenText} text
   * @param {number} at
   * @param {"pointer" | "key"} how
   */
  open(text, at, how) {
    this.hover.hide();
    this.views.token(text, at, how);
  }

  /** Puts what is shown beside the text into the address. @param {View | null} view */
  #view(view) {
    const before = this.state.view;
    this.state.view = view;
    this.address.viewed(before);
    this.#entitle();
  }

  /** Names the entry of the history: the open feature, or the beginning of what was asked. */
  #entitle() {
    const { view, mode, prompt, messages } = this.state;
    const asked = mode === "chat" ? messages.findLast(({ role }) => role === "user")?.content ?? "New chat" : prompt;
    const subject = view?.kind === "feature" ? nameOf(view.hook, view.feature).text : asked;
    document.title = `${visible(subject).slice(0, TITLE).trim()} · nanoscope`;
  }

  /** The link to the run that is shown, with a view beside it. @param {View | null} view */
  #link(view) {
    const { state } = this;
    return `${location.origin}${location.pathname}${toFragment({ ...(this.runner.last?.state ?? state), shade: state.shade, view })}`;
  }

  /**
   * Shows the run of a file, without running it again.
   * @param {string} file
   * @param {Recording} run
   * @param {State} state
   */
  opened(file, run, state) {
    this.state = { ...state, view: null };
    this.output.kept.clear();
    this.controls.draw();
    this.#blank();
    complain("");
    replay(run, state.mode === "chat", this.output);
    // The names in the file are known now.
    this.steering.draw();
    this.shading.draw();
    this.output.reshade();
    this.steering.report(run.texts[0].applied, run.texts[0].fluency, run.texts[0].tokens);
    this.runner.opened(this.state, run.finished, run);
    this.#settled();
    this.address.write("push");
    this.#entitle();
    $("empty").hidden = true;
    notice(`Opened from ${file}. ${madeElsewhere(run, this.about)}`);
    say(`Opened ${file}.`);
  }
}
