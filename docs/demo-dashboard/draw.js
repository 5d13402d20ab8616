"use strict";

const $ = (id) => document.getElementById(id);

/// An element. Whatever comes from data goes through here as text or as an attribute's value, never
/// as markup.
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/// Text without characters that are not seen or turn the line around: controls by their number,
/// line ends and tabs by a sign. As `token_text.rs` does for automatic labels.
function visible(text) {
  const hidden = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;
  const number = (c) => `⟨${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
  return text.replace(hidden, (c) => ({ "\n": "↵", "\t": "⇥" })[c] ?? number(c));
}

/// A token's text with its leading space seen.
function shown(text) {
  return visible(text).replace(/^ | $/g, "·");
}

/// An automatic label whose quotes are not torn from the space that a token begins with.
function unbroken(text) {
  return text.replaceAll('" ', '"\u00a0');
}

function percent(share) {
  if (share === 0) return "0 %";
  const value = share * 100;
  return value < 0.001 ? "< 0.001 %" : `${value.toPrecision(value >= 1 ? 3 : 2)} %`;
}

function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (Math.abs(value) >= 10 ** digits) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(digits)));
}

const fixed = (value) => (Math.abs(value) < 100 ? value.toFixed(2) : number(value));
const whole = (value) => value.toLocaleString("en");

/// Bars side by side, each with a title; `ticks` are [place, text], the place being 0 to 1.
function bars(values, { title, label, ticks, root = false }) {
  const [width, height] = [400, 92];
  const scale = (value) => (root ? Math.sqrt(value) : value);
  const most = Math.max(1, ...values.map(scale));
  const step = width / values.length;
  const drawn = values.map((value, at) => {
    const tall = value === 0 ? 0 : Math.max(1.5, (scale(value) / most) * (height - 4));
    const bar = svg("rect", { class: "bar", x: at * step + 0.5, y: height - tall, width: Math.max(0.5, step - 1), height: tall, rx: 1 });
    const space = svg("rect", { class: "space", x: at * step, y: 0, width: step, height });
    const name = svg("title");
    name.textContent = title(at, value);
    return svg("g", {}, space, bar, name);
  });
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label, class: "bars" }, ...drawn);
  const axis = el("div", { class: "axis", "aria-hidden": "true" });
  for (const [at, text] of ticks) {
    const tick = el("span", {}, text);
    tick.style.left = `${at * 100}%`;
    tick.style.transform = `translateX(${-at * 100}%)`;
    axis.append(tick);
  }
  return el("div", { class: "plot" }, picture, axis);
}

// One tip for the whole page.
let tipPlace;

/// Shows a tip at the box that `place` gives.
function showTip(place, ...content) {
  $("tip").replaceChildren(...content);
  $("tip").hidden = false;
  tipPlace = place;
  moveTip();
}

function moveTip() {
  const tip = $("tip");
  if (tip.hidden) return;
  const box = tipPlace();
  const [wide, high] = [tip.offsetWidth, tip.offsetHeight];
  const left = Math.min(Math.max(8, box.left + box.width / 2 - wide / 2), document.documentElement.clientWidth - wide - 8);
  const above = box.top - high - 8;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above > 4 ? above : box.bottom + 8}px`;
}

function hideTip() {
  $("tip").hidden = true;
}
