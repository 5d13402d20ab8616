"use strict";

const $ = (id) => document.getElementById(id);

/// Creates an HTML element. Data enters the page only through this function and `svg`, as text or as an
/// attribute value, never as markup.
function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/// Creates an SVG element.
function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/// Makes invisible characters visible, as on a dashboard.
function visible(text) {
  const hidden = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;
  const codePoint = (c) => `⟨${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
  return text.replace(hidden, (c) => ({ "\n": "↵", "\t": "⇥" })[c] ?? codePoint(c));
}

/// A token's text in one line, with a leading or trailing space shown as a dot.
function shown(text) {
  return text === "" ? "∅" : visible(text).replace(/^ | $/g, "·");
}

const token = (text) => el("span", { class: "token" }, shown(text));

/// A short name for a hook point, as on the server's page and on dashboards.
function place(hook) {
  const [, layer, rest] = /^blocks\.(\d+)\.(.+)$/.exec(hook) ?? [];
  if (layer === undefined) return hook;
  const name = rest.replace(/hook_/, "");
  return name === "resid_post" ? `layer ${layer}` : `layer ${layer} ${name}`;
}

/// The name of a feature, with the mark of an automatic one; its number if it has none.
function name({ label, auto, feature }) {
  if (!label) return el("span", { class: "off" }, `feature ${feature}`);
  // An opening quotation mark stays in the line of the space that the quoted token begins with.
  const text = visible(label).replaceAll('" ', '"\u00a0');
  return auto ? el("span", { class: "off" }, el("small", { class: "auto" }, "auto"), ` ${text}`) : el("span", { class: "name" }, text);
}

/// A number with its sign.
function signed(value) {
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  const text = size > 0 && size < 0.001 ? size.toPrecision(1) : size.toFixed(digits);
  return `${value < 0 ? "−" : "+"}${text}`;
}

function percent(share) {
  const value = share * 100;
  if (value === 0) return "0 %";
  return value < 0.001 ? "< 0.001 %" : `${Number(value.toPrecision(value >= 1 ? 3 : 2))} %`;
}

const whole = (value) => value.toLocaleString("en");

/// A bar from the middle, to the right if `value` is positive and to the left if it is negative.
function signedBar(value, most, kind = "") {
  const length = Math.min(50, (Math.abs(value) / (most || 1)) * 50);
  const bar = el("i", { class: `bar ${value < 0 ? "against" : "for"} ${kind}` });
  bar.style.width = `${length.toFixed(2)}%`;
  return bar;
}

/// A bar from the left.
function bar(share) {
  const fill = el("i", { class: "fill" });
  fill.style.width = `${(Math.min(1, share) * 100).toFixed(1)}%`;
  return el("span", { class: "track", "aria-hidden": "true" }, fill);
}
