"use strict";

const PER_PAGE = 50;

/// The address of the list of features that a search finds.
function fragmentOf(query) {
  return query.trim() === "" ? "#" : `#${new URLSearchParams({ q: query.trim() })}`;
}

/// Creates the element for a feature's name: a person's label, or an automatic one, which is marked.
function nameOf(label, auto) {
  if (label) return el("span", { class: "label" }, visible(label));
  if (!auto) return el("span", { class: "label auto" }, "not in this dashboard");
  return el("span", { class: "label auto" }, el("abbr", { class: "chip", title: "generated automatically, not written by a person" }, "auto"), " ", unbroken(visible(auto)));
}

/// The list of all features, with search and sorting, and a histogram of densities.
class List {
  constructor(data, labels, onsearch) {
    this.data = data;
    this.labels = labels;
    this.onsearch = onsearch;
    this.first = data.about.features[0];
    this.page = 0;
    this.query = "";
    this.sort = $("sort").value;
    this.texts = new Map(data.tokens.ids.map((id, at) => [id, data.tokens.texts[at]]));
    this.search = new Search(data, labels, (id) => this.token(id));
    let due;
    $("search").addEventListener("input", () => {
      clearTimeout(due);
      due = setTimeout(() => this.ask($("search").value), 80);
    });
    for (const id of ["sort", "labelled"]) $(id).addEventListener("change", () => this.ask($("search").value));
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

  /// The address of the list as it is searched now.
  fragment() {
    return fragmentOf(this.query);
  }

  /// Searches for `query`. The best match comes first until the reader chooses another order.
  ask(query) {
    const [before, now] = [this.query.trim() !== "", query.trim() !== ""];
    this.query = query;
    const match = $("sort").querySelector("[value=match]");
    match.hidden = match.disabled = !now;
    if (now && !before) {
      this.sort = $("sort").value;
      $("sort").value = "match";
    }
    if (before && !now && $("sort").selectedIndex <= 0) $("sort").value = this.sort;
    this.find();
    this.onsearch();
  }

  find() {
    const sorts = {
      index: (a, b) => a - b,
      density: (a, b) => this.data.fires[b] - this.data.fires[a] || a - b,
      max: (a, b) => this.data.max[b] - this.data.max[a] || a - b,
      label: (a, b) => this.byLabel(a, b),
    };
    const hits = this.query.trim() === "" ? undefined : this.search.find(this.query);
    const all = hits ? hits.map(({ at }) => at) : this.data.fires.map((_, at) => at);
    this.whys = new Map(hits?.map(({ at, why }) => [at, why]));
    this.found = $("labelled").checked ? all.filter((at) => this.labels.get(this.first + at) !== undefined) : all;
    const sort = sorts[$("sort").value];
    if (sort) this.found.sort(sort);
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
    const advice = found.length > 0 ? "" : ". The search looks for words of labels, and for tokens that a feature fires on or promotes: try another word or a part of one";
    $("count").textContent = `${whole(found.length)} ${noun}${found.length === this.data.fires.length ? "" : ` of ${whole(this.data.fires.length)}`}${advice}`;
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
    const why = this.whys.get(at);
    return el("li", {},
      el("a", { href: `#${feature}`, class: dead ? "row dead" : "row" },
        el("span", { class: "index" }, String(feature)),
        el("span", { class: "what" }, this.name(feature), why && el("span", { class: "why" }, unbroken(why.slice(0, 3).join("; ")))),
        el("span", { class: "density", title: "density: share of tokens on which the feature fires" }, el("span", { class: "track", "aria-hidden": "true" }, bar), dead ? "dead" : percent(this.density(at))),
        el("span", { class: "max", title: "max activation" }, dead ? "" : `max ${number(this.data.max[at])}`)));
  }

  /// Creates the element for a feature's name. `given` has the label and the automatic label of a feature
  /// without a page.
  name(feature, given = []) {
    return nameOf(this.labels.get(feature), this.data.auto[feature - this.first] ?? given[1]);
  }

  densities() {
    const densities = this.data.fires.filter((fires) => fires > 0).map((fires) => fires / this.data.about.tokens);
    const axes = { x: { name: "density (share of tokens)", scale: "log" }, y: { name: "number of features", scale: "linear" } };
    return histogram("densities", axes, (scale) => {
      const log = scale === "log";
      const from = log ? Math.floor(Math.log10(1 / this.data.about.tokens)) : 0;
      const to = log ? 0 : Math.max(1e-9, ...densities);
      const bins = log ? -from * 4 || 1 : 24;
      const edge = (at) => (log ? 10 ** (from + at / 4) : (to * at) / bins);
      const values = new Array(bins).fill(0);
      for (const density of densities) {
        const at = (((log ? Math.log10(density) : density) - from) / (to - from || 1)) * bins;
        values[Math.min(bins - 1, Math.max(0, Math.floor(at)))] += 1;
      }
      const decades = Array.from({ length: -from + 1 }, (_, at) => from + at);
      const text = (density) => `${number(density * 100)} %`;
      // Of many decades every second one is named.
      const ticks = log ? decades.filter((power) => decades.length <= 5 || power % 2 === 0).map((power) => [(power - from) / (-from || 1), text(10 ** power)]) : roundTicks(0, to, 4).map((density) => [density / to, text(density)]);
      return {
        values,
        ticks,
        label: `Histogram of the densities of ${whole(densities.length)} features, from ${percent(edge(0))} to ${percent(edge(bins))} of tokens`,
        title: (at, n) => `${whole(n)} features that fire on ${percent(edge(at))} to ${percent(edge(at + 1))} of tokens`,
      };
    });
  }
}
