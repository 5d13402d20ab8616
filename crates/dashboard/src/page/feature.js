"use strict";

/// The page of a feature.
class FeatureView {
  constructor(list, labels, layers) {
    this.list = list;
    this.labels = labels;
    this.layers = layers;
    this.about = list.data.about;
  }

  /// Returns the contents of the page's article. `names` has the names of features of each other SAE.
  draw(data, names) {
    const { feature } = data;
    const at = feature - this.list.first;
    const fires = this.list.data.fires[at];
    const dead = fires === 0;
    const section = (title, hint, ...content) => el("section", { class: "card" }, el("h2", {}, title), hint && el("p", { class: "hint" }, hint), ...content);
    return [
      this.steps(feature),
      el("h1", { tabindex: -1 }, el("span", { class: "hash" }, `#${feature}`), " ", this.list.name(feature)),
      this.box(feature),
      el("dl", { class: "facts" }, ...this.facts(data, fires)),
      steerCommand(this.list.data.steer, this.about.hook, feature),
      el("div", { class: "columns" },
        section("Activations", dead ? "It never fires on this text." : `nonzero on ${whole(fires)} ${fires === 1 ? "token" : "tokens"}`, dead ? undefined : this.histogram(data)),
        section("Logits", data.promoted ? "direct effect of the decoder row, minus the mean over the vocabulary" : "It does not write to the residual stream, so it has no direct effect on the logits.", data.promoted && this.logits(data)),
        section("Nearest features", "cosine similarity of decoder rows", this.others(data.nearest.map(([other, cosine]) => [other, fixed(cosine), `cosine ${cosine}`]), data.names)),
        section("Co-active features", dead ? "None, because it never fires." : "Jaccard index: tokens where both fire, divided by tokens where either fires", this.others(data.together.map(([other, [jaccard, share, pearson]]) => [other, fixed(jaccard), `Jaccard ${jaccard}; fires on ${percent(share)} of this feature's tokens; correlation ${pearson}`]), data.names)),
        this.list.data.others.length > 0 && this.similar(data.similar, names)),
      this.examples("Top activations", dead ? "" : "the largest first", data.strongest, data),
      ...this.quantiles(data),
    ];
  }

  steps(feature) {
    const [first, end] = this.about.features;
    const step = (to, text, name) => (to >= first && to < end ? el("a", { href: `#${to}`, rel: name }, text) : el("span", { class: "off", "aria-hidden": "true" }, text));
    const found = this.list.fragment();
    return el("nav", { class: "steps", "aria-label": "Features" }, el("a", { href: found }, found === "#" ? "All features" : `Features found by “${this.list.query}”`), step(feature - 1, "← Previous", "prev"), step(feature + 1, "Next →", "next"));
  }

  /// Creates the form that edits the label.
  box(feature) {
    const input = el("input", { type: "text", id: "label", maxlength: 500, autocomplete: "off", placeholder: "What does this feature represent?" });
    input.value = this.labels.get(feature) ?? "";
    const state = el("span", { class: "hint", role: "status" });
    const save = (event) => {
      event.preventDefault();
      this.labels.set(feature, input.value);
      $("feature").querySelector("h1 .label").replaceWith(this.list.name(feature));
      state.textContent = this.labels.stored ? "Saved in this browser. Download labels.json to keep it permanently." : "This browser does not store data: download labels.json before you close the page.";
      showDownload(this.labels);
    };
    return el("form", { class: "box", onsubmit: save }, el("label", { for: "label" }, "Label"), input, el("button", { type: "submit" }, "Save"), state);
  }

  facts(data, fires) {
    const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
    return [
      fact("density", percent(fires / this.about.tokens)),
      fact("max activation", number(data.high)),
      fact("mean activation", number(data.mean)),
      fact("decoder norm", number(data.norms[0])),
      fact("encoder norm", number(data.norms[1])),
      fact("encoder–decoder cosine", number(data.cosine, 2)),
    ];
  }

  histogram(data) {
    const values = Array.from({ length: 40 }, (_, at) => data.histogram[at] ?? 0);
    const { low, high } = data;
    const edge = (at) => low + ((high - low) * at) / 40;
    const axes = { x: { name: "activation" }, y: { name: "number of tokens", scale: "log" } };
    return histogram("activations", axes, () => ({
      values,
      label: `Histogram of activations from ${number(low)} to ${number(high)}, at most ${whole(Math.max(...values))} tokens in a bar`,
      title: (at, n) => `${whole(n)} tokens with an activation of ${number(edge(at))} to ${number(edge(at + 1))}`,
      ticks: roundTicks(low, high, 5).map((value) => [high > low ? (value - low) / (high - low) : 0, number(value)]),
    }));
  }

  logits(data) {
    const max = Math.max(1e-9, ...[...data.promoted, ...data.suppressed].map(([, value]) => Math.abs(value)));
    const side = (title, tokens, kind) => el("div", {}, el("h3", {}, title), el("ol", { class: `logits ${kind}` }, ...tokens.map(([id, value]) => {
      const bar = el("i", { class: "fill", "aria-hidden": "true" });
      bar.style.width = `${(Math.abs(value) / max) * 100}%`;
      const text = this.list.token(id);
      const token = el("span", { class: "token" }, shown(text));
      const search = bare(text) === "" ? token : el("a", { href: fragmentOf(bare(text)), title: "features with this token" }, token);
      return el("li", { title: `token ${id}` }, bar, search, el("span", { class: "value" }, signed(value)));
    })));
    return el("div", { class: "sides" }, side("Promotes", data.promoted, "up"), side("Suppresses", data.suppressed, "down"));
  }

  others(rows, names) {
    return el("ol", { class: "others" }, ...rows.map(([other, value, title]) => {
      const there = other >= this.about.features[0] && other < this.about.features[1];
      return this.other(other, value, title, this.list.name(other, names[other]), there ? `#${other}` : undefined);
    }));
  }

  other(index, value, title, name, href) {
    const content = [el("span", { class: "value", title }, value), el("span", { class: "index" }, `#${index}`), name];
    return el("li", {}, href ? el("a", { href }, ...content) : el("span", { class: "off" }, ...content));
  }

  /// Creates the card of the features of other SAEs with similar decoder rows, a list for each SAE.
  similar(similar, names) {
    const { others } = this.list.data;
    const isLinked = (other) => this.layers.siblings.some((sibling) => sibling.fingerprint === other.fingerprint);
    const hint = others.every(isLinked) ? "" : "; a layer has links if its dashboard is in a folder beside this one";
    const lists = others.map(({ hook, fingerprint }, at) => el("div", {},
      el("h3", { title: hook }, place(hook)),
      el("ol", { class: "others" }, ...similar[at].map(([other, cosine]) => this.other(other, fixed(cosine), `cosine ${cosine}`, nameOf(...names[at][other]), this.layers.feature(fingerprint, other))))));
    return el("section", { class: "card wide" }, el("h2", {}, "Similar features in other layers"), el("p", { class: "hint" }, `cosine similarity of decoder rows${hint}`), el("div", { class: "layer-lists" }, ...lists));
  }

  quantiles(data) {
    const edge = (at) => number(data.low + ((data.high - data.low) * at) / data.quantiles.length);
    const drawn = data.quantiles.map(([count, examples], at) => {
      const hint = count === 0 ? "" : `${whole(count)} ${count === 1 ? "token" : "tokens"}${examples.length < count ? `; ${examples.length} chosen at random` : ""}`;
      return this.examples(`Activations ${edge(at)} to ${edge(at + 1)}`, hint, examples, data);
    });
    return drawn.reverse();
  }

  examples(title, hint, examples, data) {
    if (examples.length === 0 && hint === "") return "";
    return el("section", { class: "examples" }, el("h2", {}, title, " ", el("span", { class: "hint" }, hint)), el("ol", {}, ...examples.map((example) => el("li", {}, this.example(example, data)))));
  }

  example([context, position, peak, tokens, pairs], data) {
    const values = new Map();
    for (let at = 0; at < pairs.length; at += 2) values.set(pairs[at], pairs[at + 1]);
    const joined = this.join(tokens);
    const spans = tokens.map((id, at) => {
      const text = this.list.token(id);
      const value = values.get(at) ?? 0;
      const span = el("span", { class: at === peak ? "t peak" : value === 0 ? "t" : "t on" }, joined[at]);
      if (value !== 0) span.style.setProperty("--a", (0.1 + 0.9 * Math.min(1, Math.abs(value) / (Math.abs(data.high) || 1))).toFixed(3));
      span.says = `${number(value, 4)} at ${shown(text)}`;
      span.tip = () => [el("b", { class: "token" }, shown(text)), ` ${number(value, 4)}`, el("span", { class: "hint" }, ` token ${id}`)];
      return span;
    });
    const text = el("p", { class: "text", dir: "ltr" }, ...spans);
    const reader = el("span", { class: "value", tabindex: 0, role: "slider", "aria-label": "Activation at a token", "aria-orientation": "horizontal", "aria-valuemin": 1, "aria-valuemax": tokens.length, title: `context ${context}, position ${position}` }, number(values.get(peak) ?? 0));
    this.walk(reader, text, spans, peak);
    return el("div", { class: "example" }, reader, text);
  }

  /// Returns the texts of the tokens. A character that spans several tokens is shown at the last one, with
  /// a placeholder at the others; bytes that do not form a character are shown as bytes.
  join(tokens) {
    const texts = tokens.map((id) => visible(this.list.token(id)));
    const { parts } = this.list.data.tokens;
    for (let from = 0; from < tokens.length; from++) {
      if (parts[tokens[from]] === undefined) continue;
      let bytes = [];
      for (let to = from; to < tokens.length && parts[tokens[to]] !== undefined; to++) {
        bytes = bytes.concat(parts[tokens[to]]);
        let whole;
        try {
          whole = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
        } catch {
          continue;
        }
        texts.fill("▫", from, to);
        texts[to] = visible(whole);
        from = to;
        break;
      }
    }
    return texts;
  }

  /// Shows the activations of tokens under the pointer and, where `reader` has the focus, with the keyboard.
  walk(reader, text, spans, peak) {
    let at = peak;
    const show = (span) => showTip(() => span.getBoundingClientRect(), ...span.tip());
    const read = (to) => {
      spans[at].classList.remove("here");
      at = to;
      reader.setAttribute("aria-valuenow", at + 1);
      reader.setAttribute("aria-valuetext", spans[at].says);
    };
    const mark = (to) => {
      read(to);
      spans[at].classList.add("here");
      show(spans[at]);
    };
    read(peak);
    text.addEventListener("pointerover", (event) => event.target.tip && show(event.target));
    text.addEventListener("pointerleave", hideTip);
    reader.addEventListener("focus", () => reader.matches(":focus-visible") && mark(peak));
    reader.addEventListener("blur", () => {
      spans[at].classList.remove("here");
      hideTip();
    });
    reader.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: spans.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      mark(Math.min(spans.length - 1, Math.max(0, to)));
    });
  }
}
