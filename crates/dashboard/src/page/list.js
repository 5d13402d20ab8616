"use strict";

const PER_PAGE = 50;

/// The index: a list that can be searched and sorted, and a histogram of densities.
class List {
  constructor(data, labels) {
    this.data = data;
    this.labels = labels;
    this.first = data.about.features[0];
    this.page = 0;
    this.texts = new Map(data.tokens.ids.map((id, at) => [id, data.tokens.texts[at]]));
    this.hay = data.fires.map(() => undefined);
    let due;
    $("search").addEventListener("input", () => {
      clearTimeout(due);
      due = setTimeout(() => this.find(), 80);
    });
    for (const id of ["sort", "labelled"]) $(id).addEventListener("change", () => this.find());
    $("back").addEventListener("click", () => this.turn(-1));
    $("on").addEventListener("click", () => this.turn(1));
    $("densities").replaceChildren(this.densities());
    this.find();
  }

  token(id) {
    return this.texts.get(id) ?? `<${id}>`;
  }

  density(at) {
    return this.data.fires[at] / this.data.about.tokens;
  }

  /// What is searched of a feature, in small letters.
  searched(at) {
    const label = this.labels.get(this.first + at) ?? "";
    this.hay[at] ??= `${this.data.auto[at]}\n${this.data.words[at].map((id) => this.token(id)).join("\n")}`.toLowerCase();
    return `${label.toLowerCase()}\n${this.hay[at]}`;
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
      if (text === "" || this.first + at === index || this.searched(at).includes(text)) this.found.push(at);
    }
    this.found.sort(sorts[$("sort").value]);
    if (index !== undefined) this.found.sort((a, b) => (this.first + b === index) - (this.first + a === index));
    this.page = 0;
    this.show();
  }

  /// Those with a person's label first.
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
    const of = found.length === 1 ? "feature" : "features";
    $("count").textContent = `${whole(found.length)} ${of}${found.length === this.data.fires.length ? "" : ` of ${whole(this.data.fires.length)}`}`;
    $("rows").replaceChildren(...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map((at) => this.row(at)));
    $("rows").start = page * PER_PAGE + 1;
    $("pages").textContent = `${page + 1} / ${last + 1}`;
    $("back").disabled = page === 0;
    $("on").disabled = page >= last;
    $("back").parentElement.hidden = last === 0;
  }

  row(at) {
    const feature = this.first + at;
    const dead = this.data.fires[at] === 0;
    // From one in a million to all tokens, on a logarithmic scale.
    const bar = el("i", { class: "fill" });
    bar.style.width = dead ? "0" : `${Math.max(2, (1 + Math.log10(this.density(at)) / 6) * 100)}%`;
    return el("li", {},
      el("a", { href: `#${feature}`, class: dead ? "row dead" : "row" },
        el("span", { class: "index" }, String(feature)),
        this.name(feature),
        el("span", { class: "density", title: "share of tokens at which it fires" }, el("span", { class: "track", "aria-hidden": "true" }, bar), dead ? "dead" : percent(this.density(at))),
        el("span", { class: "max", title: "largest value" }, dead ? "" : `max ${number(this.data.max[at])}`)));
  }

  /// A feature's label; an automatic one says so.
  name(feature) {
    const label = this.labels.get(feature);
    if (label !== undefined) return el("span", { class: "label" }, visible(label));
    const auto = this.data.auto[feature - this.first];
    if (auto === undefined) return el("span", { class: "label auto" }, "no page");
    return el("span", { class: "label auto" }, el("abbr", { class: "chip", title: "made by a rule, not by a person" }, "auto"), " ", unbroken(visible(auto)));
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
    return bars(counts, {
      label: "How many features fire at which share of the tokens",
      title: (at, n) => `${whole(n)} features at ${edge(at)} to ${edge(at + 1)} of tokens`,
      ticks: [[0, "0.0001 %"], [1 / 3, "0.01 %"], [2 / 3, "1 %"], [1, "100 %"]],
    });
  }
}
