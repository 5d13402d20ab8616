"use strict";

const $ = (id) => document.getElementById(id);

/// Creates an HTML element. Data enters the page only through this function, as text or as an attribute
/// value, never as markup.
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/// Creates an SVG element.
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/// Makes invisible characters visible: line ends and tabs as symbols, other control and formatting
/// characters as their code points. `token_text.rs` does the same for automatic labels.
function visible(text) {
  const hidden = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;
  const codePoint = (c) => `⟨${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
  return text.replace(hidden, (c) => ({ "\n": "↵", "\t": "⇥" })[c] ?? codePoint(c));
}

/// Returns a token's text with a leading or trailing space shown as a dot.
function shown(text) {
  return visible(text).replace(/^ | $/g, "·");
}

/// Keeps an opening quote on the same line as the space that the quoted token begins with.
function unbroken(text) {
  return text.replaceAll('" ', '"\u00a0');
}

/// Formats a share of 0 to 1 as a percentage.
function percent(share) {
  if (share === 0) return "0 %";
  const value = share * 100;
  return value < 0.001 ? "< 0.001 %" : `${value.toPrecision(value >= 1 ? 3 : 2)} %`;
}

/// Formats a number with at most `digits` significant digits.
function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (Math.abs(value) >= 10 ** digits) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(digits)));
}

const fixed = (value) => (Math.abs(value) < 100 ? value.toFixed(2) : number(value));
/// Formats an effect on the logits with its sign.
const signed = (value) => `${value < 0 ? "−" : "+"}${fixed(Math.abs(value))}`;
const whole = (value) => value.toLocaleString("en");

// The page has a single tooltip.
let tipAnchor;

/// Shows the tooltip at the box that `anchor` returns.
function showTip(anchor, ...content) {
  $("tip").replaceChildren(...content);
  $("tip").hidden = false;
  tipAnchor = anchor;
  moveTip();
}

function moveTip() {
  const tip = $("tip");
  if (tip.hidden) return;
  const box = tipAnchor();
  const [wide, high] = [tip.offsetWidth, tip.offsetHeight];
  const left = Math.min(Math.max(8, box.left + box.width / 2 - wide / 2), document.documentElement.clientWidth - wide - 8);
  const above = box.top - high - 8;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above > 4 ? above : box.bottom + 8}px`;
}

function hideTip() {
  $("tip").hidden = true;
}
