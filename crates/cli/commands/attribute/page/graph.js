/// Pixels for each node, for the middle of a line of nodes, and between rows.
const PITCH = 24;
const LINE = 28;
const BETWEEN = 58;
/// Nodes side by side at one place before a second line begins.
const ACROSS = 10;
/// The width of a letter of a token, and the longest token in letters.
const LETTER = 7.3;
const LONGEST = 14;
/// The least scale of the picture. Below it the picture scrolls.
const LEAST_SCALE = 0.85;
/// The share of the influence of the edges that are shown at first.
const FIRST = 0.6;

const isWide = (c) => c.codePointAt(0) >= 0x1100 && /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Hangul}\p{Extended_Pictographic}\uff00-\uff60]/u.test(c);
const cells = (text) => [...text].reduce((sum, c) => sum + (isWide(c) ? 2 : 1), 0);

function cut(text) {
  const all = [...text];
  return all.length > LONGEST ? `${all.slice(0, LONGEST - 1).join("")}…` : text;
}

/// The influence of each edge on the logits, and of each node: the sum over paths of the edges' shares in what acts
/// on their targets, of which target and contrast count the same. `influence.rs` computes the same.
function influences({ nodes, edges }, rowOf) {
  const sums = nodes.map(() => 0);
  for (const [, target, weight] of edges) sums[target] += Math.abs(weight);
  const arrived = nodes.map((node) => (node.kind === "logit" ? 1 : 0));
  const through = edges.map(() => 0);
  // An edge leads to a later row, so a node has all its influence before its own edges are reached.
  const order = [...edges.keys()].sort((a, b) => rowOf(nodes[edges[b][1]]) - rowOf(nodes[edges[a][1]]));
  for (const at of order) {
    const [source, target, weight] = edges[at];
    through[at] = sums[target] > 0 ? (arrived[target] * Math.abs(weight)) / sums[target] : 0;
    arrived[source] += through[at];
  }
  return { through, arrived };
}

/// Draws the graph: a column for each position, a row for each SAE between the embeddings and the logits. Returns
/// the drawn nodes.
function drawGraph(graph) {
  const { nodes, edges } = graph;
  const hooks = report.hooks.map(({ hook }) => hook);
  const rowOf = (node) => (node.kind === "token" ? 0 : node.kind === "logit" ? hooks.length + 1 : hooks.indexOf(node.hook) + 1);
  const last = report.texts.length - 1;
  const columnOf = (node) => (node.kind === "logit" ? last : node.position);
  const { through, arrived } = influences(graph, rowOf);

  const at = layout(nodes, rowOf, columnOf, arrived);
  const ranked = [...edges.keys()].sort((a, b) => through[b] - through[a]);
  const heaviest = Math.max(1e-9, ...edges.map(([, , weight]) => Math.abs(weight)));
  const carried = Math.max(1e-9, ...nodes.map(({ attribution }) => Math.abs(attribution ?? 0)));

  const lines = edges.map(([source, target, weight]) => {
    const share = Math.abs(weight) / heaviest;
    const line = svg("path", { class: `edge ${weight < 0 ? "against" : "for"}`, d: curve(at.places[source], at.places[target]) });
    line.style.setProperty("--share", Math.sqrt(share).toFixed(3));
    return line;
  });
  // The strongest are drawn last, on top of the others.
  const layers = svg("g", { class: "edges", "aria-hidden": "true" }, ...[...ranked].reverse().map((n) => lines[n]));
  const drawn = nodes.map((node, index) => new GraphNode(node, index, at.places[index], carried));
  const around = drawn.map(() => ({ into: [], out: [] }));
  edges.forEach(([source, target], n) => {
    around[source].out.push(n);
    around[target].into.push(n);
  });

  // Nodes are in the order of the arrow keys: from the top, and in a row from the left.
  const order = [...drawn].sort((a, b) => rowOf(b.node) - rowOf(a.node) || a.place.line - b.place.line || a.place.x - b.place.x);
  const image = svg("svg", { viewBox: `0 0 ${at.width} ${at.height}`, role: "group", "aria-label": "Graph. Arrow keys move between nodes, Enter keeps one, Escape releases it." },
    background(at, hooks.length + 2), layers, svg("g", { class: "nodes" }, ...order.map(({ element }) => element)), tokenTexts(at));
  const labels = ["tokens", ...hooks.map(place), "logits"].map((text, row) => {
    const label = el("span", { title: hooks[row - 1] }, text);
    label.style.top = `${(at.rows[row].middle / at.height) * 100}%`;
    return label;
  });
  const names = el("div", { class: "row-names", "aria-hidden": "true" }, ...labels);
  // A picture that is hardly wider than its box is scaled to fit.
  image.style.maxWidth = `${at.width}px`;
  image.style.minWidth = `${Math.round(at.width * LEAST_SCALE)}px`;
  $("stage").append(names, image);

  let kept = null;
  const light = (one) => {
    image.classList.toggle("focused", one !== null);
    for (const line of lines) line.classList.remove("lit");
    for (const other of drawn) other.element.classList.remove("lit", "near");
    if (one === null) return;
    one.element.classList.add("lit");
    for (const n of [...around[one.index].into, ...around[one.index].out]) {
      lines[n].classList.add("lit");
      for (const end of edges[n].slice(0, 2)) drawn[end].element.classList.add("near");
    }
  };
  const show = (one) => {
    light(one);
    panel(one);
  };
  const keep = (one) => {
    if (kept) kept.element.setAttribute("aria-pressed", "false");
    kept = one;
    one?.element.setAttribute("aria-pressed", "true");
    show(one);
    if (one) $("status").textContent = `${one.words}: ${around[one.index].into.length} edges in, ${around[one.index].out.length} out.`;
  };

  const panel = (one) => {
    if (one === null) {
      $("panel").replaceChildren(el("p", { class: "hint" }, "Point at a node to see what it acts on and what acts on it. Click it to keep it."), legend());
      return;
    }
    const { into, out } = around[one.index];
    const list = (title, those, end) => {
      const sorted = [...those].sort((a, b) => Math.abs(edges[b][2]) - Math.abs(edges[a][2]));
      const most = Math.abs(edges[sorted[0]]?.[2] ?? 1);
      return sorted.length > 0 && [el("h4", {}, title, el("span", { class: "off" }, ` ${sorted.length}`)), el("ol", { class: `edges ${end === 0 ? "into" : "out"}` }, ...sorted.map((n) => {
        const other = drawn[edges[n][end]];
        return el("li", {}, el("button", { type: "button", onclick: () => other.choose(true) },
          el("span", { class: "signed", "aria-hidden": "true" }, signedBar(edges[n][2], most)), el("span", { class: "number" }, signed(edges[n][2])), el("span", { class: "other" }, ...other.title())));
      }))];
    };
    $("panel").replaceChildren(...[
      el("h3", { tabindex: "-1", id: "chosen" }, ...one.title()),
      el("p", { class: "hint" }, one.facts()),
      list("Acts on it", into, 0), list("It acts on", out, 1),
      into.length + out.length === 0 && el("p", { class: "hint" }, "It has no edge in this graph."),
    ].flat().filter(Boolean));
    $("panel").scrollTop = 0;
  };

  for (const one of drawn) {
    /// Keeps the node, and brings it into view.
    one.choose = (read = false) => {
      keep(one);
      const box = one.element.getBoundingClientRect();
      const stage = $("stage").getBoundingClientRect();
      if (box.left < stage.left + 90 || box.right > stage.right) $("stage").scrollLeft += box.left - stage.left - stage.width / 2;
      if (read) $("chosen").focus();
      else $("graph").scrollIntoView({ block: "start" });
    };
    const { element } = one;
    element.addEventListener("pointerenter", (event) => {
      if (event.pointerType !== "mouse") return;
      showTip(element, ...one.title());
      if (kept === null) show(one);
      else light(one);
    });
    element.addEventListener("pointerleave", () => {
      hideTip();
      if (kept === null) show(document.activeElement === element ? one : null);
      else light(kept);
    });
    element.addEventListener("click", () => keep(kept === one ? null : one));
    element.addEventListener("focus", () => kept === null && show(one));
    element.addEventListener("blur", () => kept === null && show(null));
  }
  roving(order, rowOf, keep, () => kept);
  panel(null);
  $("graph-controls").append(...slider(ranked, through, (count) => {
    const on = new Set();
    ranked.forEach((n, rank) => {
      lines[n].classList.toggle("off", rank >= count);
      if (rank < count) for (const end of edges[n].slice(0, 2)) on.add(end);
    });
    for (const one of drawn) one.element.classList.toggle("off", !on.has(one.index) && !["token", "logit"].includes(one.node.kind));
  }));
  $("graph-hint").append(`${whole(nodes.length)} of ${whole(graph.all)} nodes and ${whole(edges.length)} edges carry most of the influence on the logits. An edge is what one feature adds to the next, or to a logit.`);
  $("graph").hidden = false;
  // The last positions are next to the logits.
  $("stage").scrollLeft = $("stage").scrollWidth;
  return drawn;
}

/// The places of nodes, rows and columns.
function layout(nodes, rowOf, columnOf, arrived) {
  const groups = new Map();
  nodes.forEach((node, index) => {
    const key = `${rowOf(node)} ${columnOf(node)}`;
    groups.set(key, [...(groups.get(key) ?? []), index]);
  });
  const lineCount = (members) => Math.ceil(members.length / ACROSS);
  const rowCount = report.hooks.length + 2;
  const heights = Array(rowCount).fill(1);
  const widths = report.texts.map((text) => Math.max(PITCH + 8, cells(cut(shown(text))) * LETTER + 8));
  for (const members of groups.values()) {
    const [row, column] = [rowOf(nodes[members[0]]), columnOf(nodes[members[0]])];
    heights[row] = Math.max(heights[row], lineCount(members));
    const wide = members.reduce((sum, index) => sum + widthOf(nodes[index]), 0) / lineCount(members);
    widths[column] = Math.max(widths[column], wide + 12);
  }
  const rows = [];
  let y = 8;
  for (let row = rowCount - 1; row >= 0; row--) {
    const tall = heights[row] * LINE;
    rows[row] = { top: y, bottom: y + tall, middle: y + tall / 2 };
    y += tall + BETWEEN;
  }
  const height = y - BETWEEN + 28;
  const columns = [];
  let x = 8;
  for (const width of widths) {
    columns.push({ left: x, right: x + width, middle: x + width / 2 });
    x += width;
  }
  const places = [];
  for (const members of groups.values()) {
    const sorted = members.sort((a, b) => arrived[b] - arrived[a]);
    const lines = lineCount(members);
    const across = Math.ceil(members.length / lines);
    const { middle } = columns[columnOf(nodes[members[0]])];
    const row = rows[rowOf(nodes[members[0]])];
    for (let line = 0; line < lines; line++) {
      const some = sorted.slice(line * across, (line + 1) * across);
      let left = middle - some.reduce((sum, index) => sum + widthOf(nodes[index]), 0) / 2;
      for (const index of some) {
        const width = widthOf(nodes[index]);
        places[index] = { x: left + width / 2, y: row.middle + (line - (lines - 1) / 2) * LINE, line };
        left += width;
      }
    }
  }
  return { places, rows, columns, width: Math.ceil(x + 8), height: Math.ceil(height) };
}

const logitText = (node) => `${cut(shown(node.text))} ${percent(Number(node.probability.toPrecision(3)))}`;

/// The width of a node with the room around it.
const widthOf = (node) => (node.kind === "logit" ? cells(logitText(node)) * LETTER + 28 : PITCH);

function curve(from, to) {
  const half = (from.y - to.y) / 2;
  const [start, end] = [from.y - 8, to.y + 8];
  return `M${from.x.toFixed(1)} ${start} C${from.x.toFixed(1)} ${(start - half).toFixed(1)} ${to.x.toFixed(1)} ${(end + half).toFixed(1)} ${to.x.toFixed(1)} ${end}`;
}

function background({ rows, columns, width }, count) {
  const bands = rows.slice(0, count).map(({ top, bottom }) => svg("rect", { class: "band", x: 0, y: top - 6, width, height: bottom - top + 12 }));
  const rules = columns.slice(1).map(({ left }) => svg("line", { class: "rule", x1: left, x2: left, y1: 2, y2: rows[0].bottom + 6 }));
  return svg("g", { "aria-hidden": "true" }, ...bands, ...rules);
}

function tokenTexts({ columns, rows }) {
  const texts = columns.map(({ middle }, at) => svg("text", { class: "word", x: middle, y: rows[0].bottom + 18 }, cut(shown(report.texts[at]))));
  return svg("g", { "aria-hidden": "true" }, ...texts);
}

/// A node of the graph, drawn.
class GraphNode {
  constructor(node, index, place, carried) {
    Object.assign(this, { node, index, place });
    const strength = Math.abs(node.attribution ?? 0) / carried;
    const side = node.attribution === undefined ? "" : node.attribution < 0 ? "against" : "for";
    // The name of a logit begins with the text in its box.
    this.words = node.kind === "logit" ? `${logitText(node)} logit` : this.title().map((part) => part.textContent).join("");
    this.element = svg("g", { class: `node ${node.kind} ${side} ${node.is_target ? "target" : ""}`, transform: `translate(${place.x.toFixed(1)} ${place.y.toFixed(1)})`, role: "button", tabindex: "-1", "aria-pressed": "false", "aria-label": `${this.words}. ${this.facts()}` }, ...this.shape(strength));
    this.element.style.setProperty("--strength", Math.sqrt(strength).toFixed(3));
  }

  shape(strength) {
    const { node } = this;
    if (node.kind === "logit") {
      const text = logitText(node);
      const width = cells(text) * LETTER + 18;
      return [svg("rect", { class: "mark", x: -width / 2, y: -13, width, height: 26, rx: 8 }), svg("text", { class: "word", y: 4 }, text)];
    }
    // The area that a pointer hits is larger than the mark.
    const hit = svg("rect", { class: "hit", x: -PITCH / 2, y: -PITCH / 2, width: PITCH, height: PITCH });
    const size = 5 + 5 * Math.sqrt(strength);
    if (node.kind === "token") return [hit, svg("rect", { class: "mark", x: -7, y: -7, width: 14, height: 14, rx: 2 })];
    if (node.kind === "error") return [hit, svg("path", { class: "mark", d: `M0 ${-size - 2} L${size + 2} 0 L0 ${size + 2} L${-size - 2} 0 Z` })];
    return [hit, svg("circle", { class: "mark", r: size })];
  }

  /// The name of the node, as nodes and texts.
  title() {
    const { node } = this;
    if (node.kind === "token") return [token(node.text), el("span", { class: "off place" }, ` token (${node.position})`)];
    if (node.kind === "logit") return [token(node.text), el("span", { class: "off place" }, " logit")];
    const at = el("span", { class: "off place" }, ` ${place(node.hook)}`, node.kind === "feature" ? ` #${node.feature}` : "", " at ", token(report.texts[node.position]), ` (${node.position})`);
    return node.kind === "error" ? [el("span", {}, "error"), at] : [name(node), at];
  }

  facts() {
    const { node } = this;
    if (node.kind === "logit") return `probability ${percent(node.probability)}`;
    if (node.kind === "token") return "the embedding";
    const carries = `attribution ${signed(node.attribution)}`;
    return node.kind === "error" ? `what the SAE does not reconstruct · ${carries}` : `active at ${Number(node.activation.toPrecision(3))} · ${carries}`;
  }
}

/// Lets arrow keys move the focus between nodes: along a row, and to the nearest node of the next row.
function roving(order, rowOf, keep, kept) {
  const first = order.find(({ node }) => node.is_target) ?? order[0];
  first.element.setAttribute("tabindex", "0");
  let current = first;
  const go = (to) => {
    current.element.setAttribute("tabindex", "-1");
    current = to;
    current.element.setAttribute("tabindex", "0");
  };
  const isShown = ({ element }) => !element.classList.contains("off") || element.classList.contains("near");
  const along = (step) => {
    for (let at = order.indexOf(current) + step; order[at]; at += step) if (isShown(order[at])) return order[at];
    return undefined;
  };
  const across = (step) => {
    const rows = order.filter(isShown).map(({ node }) => rowOf(node)).filter((row) => (row - rowOf(current.node)) * step > 0);
    const row = step > 0 ? Math.min(...rows) : Math.max(...rows);
    const away = ({ place }) => Math.abs(place.x - current.place.x);
    return order.filter((one) => isShown(one) && rowOf(one.node) === row).sort((a, b) => away(a) - away(b))[0];
  };
  for (const one of order) {
    one.element.addEventListener("focus", () => go(one));
    one.element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Enter" || event.key === " ") keep(kept() === one ? null : one);
      else if (event.key === "Escape") keep(null);
      else {
        const moves = { ArrowLeft: () => along(-1), ArrowRight: () => along(1), ArrowUp: () => across(1), ArrowDown: () => across(-1) };
        const to = moves[event.key]?.();
        if (!to) return;
        to.element.focus();
      }
      event.preventDefault();
    });
  }
}

/// The slider for the number of edges, of which those with the most influence are shown.
function slider(ranked, through, draw) {
  const sums = [];
  for (const n of ranked) sums.push((sums.at(-1) ?? 0) + through[n]);
  const share = (count) => (sums.length > 0 && sums.at(-1) > 0 ? sums[count - 1] / sums.at(-1) : 1);
  const start = Math.max(1, sums.findIndex((_, at) => share(at + 1) >= FIRST) + 1);
  const words = el("output", { for: "edges", class: "hint" });
  const range = el("input", { type: "range", id: "edges", min: Math.min(1, ranked.length), max: ranked.length, value: start });
  const set = () => {
    const count = Number(range.value);
    const text = `${whole(count)} of ${whole(ranked.length)}, ${Math.round(share(count) * 100)} % of the influence`;
    words.textContent = text;
    range.setAttribute("aria-valuetext", text);
    draw(count);
  };
  range.addEventListener("input", set);
  set();
  return [el("label", { for: "edges" }, "Edges"), range, words];
}

function legend() {
  const sample = (...shapes) => svg("svg", { width: 26, height: 20, viewBox: "-13 -10 26 20", "aria-hidden": "true" }, ...shapes);
  const entry = (picture, words) => el("li", {}, picture, el("span", {}, ...words));
  const node = (kind, shape) => sample(svg("g", { class: `node ${kind}` }, shape));
  const edge = (kind) => {
    const line = svg("path", { class: `edge lit ${kind}`, d: "M-12 0 L12 0" });
    line.style.setProperty("--share", "0.6");
    return sample(line);
  };
  return el("ul", { class: "legend", "aria-label": "Legend" },
    entry(node("feature for strong", svg("circle", { class: "mark", r: 7 })), ["feature that speaks for ", subject()]),
    entry(node("feature against strong", svg("circle", { class: "mark", r: 7 })), ["feature against it"]),
    entry(node("error", svg("path", { class: "mark", d: "M0 -8 L8 0 L0 8 L-8 0 Z" })), ["error: what an SAE does not reconstruct"]),
    entry(node("token", svg("rect", { class: "mark", x: -7, y: -7, width: 14, height: 14, rx: 2 })), ["embedding of a token"]),
    entry(edge("for"), ["raises its target"]),
    entry(edge("against"), ["lowers its target"]));
}

/// Shows the name of a node beside it.
function showTip(anchor, ...content) {
  const tip = $("tip");
  tip.replaceChildren(...content);
  tip.hidden = false;
  const box = anchor.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 6;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above > 4 ? above : box.bottom + 6}px`;
}

function hideTip() {
  $("tip").hidden = true;
}
