"use strict";

/// The scales that the reader chose, by plot and axis. They hold for all features.
const chosenScales = new Map();

/// Returns round numbers from `low` to `high`, about `count` of them, 1, 2 or 5 times a power of ten apart.
function roundTicks(low, high, count) {
  const rough = (high - low) / count;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((n) => n * power >= rough * 0.999) * power;
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) ticks.push(Number((n * step).toPrecision(12)));
  return ticks;
}

/// The scale of a count from 0 to `max`: the place of a value as a share of the axis, and the ticks. On the
/// logarithmic axis, which has no 0, a count of 1 still has a visible bar.
function countScale(max, log) {
  if (log) {
    const [low, high] = [Math.log10(0.5), Math.log10(Math.max(2, max) * 1.15)];
    const at = (n) => (n < 0.5 ? 0 : (Math.log10(n) - low) / (high - low));
    const decades = Array.from({ length: Math.floor(high) + 1 }, (_, power) => 10 ** power);
    const finer = decades.flatMap((power) => [power, 2 * power, 5 * power]).filter((n) => n <= max);
    return { at, ticks: decades.length > 2 ? decades : finer };
  }
  const ticks = roundTicks(0, Math.max(1, max), 4).filter(Number.isInteger);
  const high = Math.max(1, max) * 1.05;
  return { at: (n) => n / high, ticks };
}

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const countText = (n) => (n < 10_000 ? whole(n) : compact.format(n));

/// Draws a histogram with axes. `axes` has for `x` and `y` a name, a default scale, and for `x` whether it can
/// be switched. `draw(scale of x)` returns the counts, the ticks as pairs of place (0 to 1) and text, a
/// description, and `title(index, count)`, which returns a bar's tooltip.
function histogram(name, axes, draw) {
  const plot = el("div", { class: "histogram" });
  const scaleOf = (axis) => chosenScales.get(`${name} ${axis}`) ?? axes[axis].scale;
  const redraw = () => {
    const { values, ticks, label, title } = draw(scaleOf("x"));
    const y = countScale(Math.max(...values), scaleOf("y") === "log");
    const yAxis = el("div", { class: "y-axis" }, ...y.ticks.map((n) => tick("bottom", y.at(n), countText(n))));
    const xAxis = el("div", { class: "x-axis" }, ...ticks.map(([at, text]) => tick("left", at, text)));
    area.replaceChildren(el("div", { class: "y-name" }, axes.y.name), yAxis, bars(values, y, ticks, label, title), xAxis, el("div", { class: "x-name" }, axes.x.name));
  };
  const area = el("div", { class: "plot" });
  const switches = Object.keys(axes).filter((axis) => axes[axis].scale !== undefined).map((axis) => {
    const options = ["linear", "log"].map((scale) => el("option", { value: scale, selected: scale === scaleOf(axis) }, scale));
    const choose = (event) => {
      chosenScales.set(`${name} ${axis}`, event.target.value);
      redraw();
    };
    return el("label", { class: "select" }, `${axes[axis].name} `, el("select", { onchange: choose }, ...options));
  });
  redraw();
  plot.append(area, el("div", { class: "scales" }, switches.length === 1 ? "Axis" : "Axes", ...switches));
  return plot;
}

function tick(side, at, text) {
  const mark = el("span", {}, text);
  mark.style[side] = `${at * 100}%`;
  // The texts at the ends of the horizontal axis stay inside.
  if (side === "left") mark.style.transform = `translateX(${at < 0.05 ? 0 : at > 0.95 ? -100 : -50}%)`;
  return mark;
}

function bars(values, y, ticks, label, title) {
  const [width, height] = [400, 100];
  const step = width / values.length;
  const lines = y.ticks.map((n) => svg("line", { class: "grid", x1: 0, x2: width, y1: height * (1 - y.at(n)), y2: height * (1 - y.at(n)) }));
  const marks = ticks.map(([at]) => svg("line", { class: "grid", x1: at * width, x2: at * width, y1: 0, y2: height }));
  const drawn = values.map((value, at) => {
    const tall = y.at(value) * height;
    const bar = svg("rect", { class: "bar", x: at * step + 0.5, y: height - tall, width: Math.max(0.5, step - 1), height: tall });
    const space = svg("rect", { class: "space", x: at * step, y: 0, width: step, height });
    const name = svg("title");
    name.textContent = title(at, value);
    return svg("g", {}, space, bar, name);
  });
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label, class: "bars" }, ...lines, ...marks, ...drawn);
}
