"use strict";

const PER_PAGE = 50;

/// The list of all features, with search and sorting, and a histogram of densities.
class List {
  constructor(data, labels) {
    this.data = data;
    this.labels = labels;
    this.first = data.about.features[0];
    this.page = 0;
    this.texts = new Map(data.tokens.ids.map((id, at) => [id, data.tokens.texts[at]]));
    this.searchTexts = data.fires.map(() => undefined);
    let due;
    $("search").addEventListener("input", () => {
      clearTimeout(due);
      due = setTimeout(() => this.find(), 80);
    });
    for (const id of ["sort", "labelled"]) $(id).addEventListener("change", () => this.find());
    $("back").addEventListener("click", () => this.turn(-1));
    $("next").addEventListener("click", () => this.turn(1));
    $("densities").replaceChildren(this.densities());
    this.find();
  }

  token(id) {
    return this.texts.get(id) ?? `<${id}>`;
  }

  density(at) {
    return this.data.fires[at] / this.data.about.tokens;
  }

  /// Returns the text in which the search looks for a feature, in lower case.
  searchText(at) {
    const label = this.labels.get(this.first + at) ?? "";
    this.searchTexts[at] ??= `${this.data.auto[at]}\n${this.data.words[at].map((id) => this.token(id)).join("\n")}`.toLowerCase();
    return `${label.toLowerCase()}\n${this.searchTexts[at]}`;
  }

  find() {
    const text = $("search").value.toLowerCase();
    const index = /^\s*#?\d+\s*$/.test(text) ? Number(text.replace("#", "")) : undefined;
    const sorts = {
      index: (a, b) => a - b,
      density: (a, b) => this.data.fires[b] - this.data.fires[a] || a - b,
      max: (a, b) => this.data.max[b] - this.data.max[a] || a - b,
      label: (a, b) => this.byLabel(a, b),
    };
    const only = $("labelled").checked;
    this.found = [];
    for (let at = 0; at < this.data.fires.length; at++) {
      if (only && this.labels.get(this.first + at) === undefined) continue;
      if (text === "" || this.first + at === index || this.searchText(at).includes(text)) this.found.push(at);
    }
    this.found.sort(sorts[$("sort").value]);
    if (index !== undefined) this.found.sort((a, b) => (this.first + b === index) - (this.first + a === index));
    this.page = 0;
    this.show();
  }

  /// Compares by label; features labelled by a person come first.
  byLabel(a, b) {
    const [x, y] = [a, b].map((at) => this.labels.get(this.first + at));
    if ((x === undefined) !== (y === undefined)) return x === undefined ? 1 : -1;
    return (x ?? this.data.auto[a]).localeCompare(y ?? this.data.auto[b]) || a - b;
  }

  turn(by) {
    this.page += by;
    this.show();
    $("count").scrollIntoView({ block: "start" });
  }

  show() {
    const { found, page } = this;
    const last = Math.max(0, Math.ceil(found.length / PER_PAGE) - 1);
    const noun = found.length === 1 ? "feature" : "features";
    $("count").textContent = `${whole(found.length)} ${noun}${found.length === this.data.fires.length ? "" : ` of ${whole(this.data.fires.length)}`}`;
    $("rows").replaceChildren(...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map((at) => this.row(at)));
    $("rows").start = page * PER_PAGE + 1;
    $("pages").textContent = `${page + 1} / ${last + 1}`;
    $("back").disabled = page === 0;
    $("next").disabled = page >= last;
    $("back").parentElement.hidden = last === 0;
  }

  row(at) {
    const feature = this.first + at;
    const dead = this.data.fires[at] === 0;
    // A logarithmic scale from one token in a million to all tokens.
    const bar = el("i", { class: "fill" });
    bar.style.width = dead ? "0" : `${Math.max(2, (1 + Math.log10(this.density(at)) / 6) * 100)}%`;
    return el("li", {},
      el("a", { href: `#${feature}`, class: dead ? "row dead" : "row" },
        el("span", { class: "index" }, String(feature)),
        this.name(feature),
        el("span", { class: "density", title: "density: share of tokens on which the feature fires" }, el("span", { class: "track", "aria-hidden": "true" }, bar), dead ? "dead" : percent(this.density(at))),
        el("span", { class: "max", title: "max activation" }, dead ? "" : `max ${number(this.data.max[at])}`)));
  }

  /// Creates the element for a feature's label. An automatic label is marked as one.
  name(feature) {
    const label = this.labels.get(feature);
    if (label !== undefined) return el("span", { class: "label" }, visible(label));
    const auto = this.data.auto[feature - this.first];
    if (auto === undefined) return el("span", { class: "label auto" }, "no page");
    return el("span", { class: "label auto" }, el("abbr", { class: "chip", title: "generated automatically, not written by a person" }, "auto"), " ", unbroken(visible(auto)));
  }

  densities() {
    const counts = new Array(24).fill(0);
    const from = -6;
    for (const fires of this.data.fires) {
      if (fires === 0) continue;
      const log = Math.log10(fires / this.data.about.tokens);
      counts[Math.min(23, Math.max(0, Math.floor((log - from) * 4)))] += 1;
    }
    const edge = (at) => percent(10 ** (from + at / 4));
    return histogram(counts, {
      label: "Histogram of feature densities",
      title: (at, n) => `${whole(n)} features that fire on ${edge(at)} to ${edge(at + 1)} of tokens`,
      ticks: [[0, "0.0001 %"], [1 / 3, "0.01 %"], [2 / 3, "1 %"], [1, "100 %"]],
    });
  }
}
