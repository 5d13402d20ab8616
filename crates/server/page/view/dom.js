/**
 * The element with the given id, which must exist.
 * @returns {any}
 */
export const $ = (/** @type {string} */ id) => {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
};

/**
 * Creates an element. Text from the model, labels or users becomes text nodes or attribute values,
 * never markup.
 * @param {string} tag
 * @param {Record<string, any>} attributes names that begin with `on` are event listeners
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {any}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child !== undefined && child !== null && child !== false) element.append(child);
  return element;
}

/** Invisible characters and direction marks, without the line break. */
export const HIDDEN = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

/**
 * Makes invisible characters and direction marks visible. Line breaks stay.
 * @param {string} text
 */
export function visible(text) {
  return text.replace(HIDDEN, (c) => (c === "\t" ? "⇥" : `⟨${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}⟩`));
}

/**
 * A feature's label, with a non-breaking space after each quotation mark.
 * @param {string} text
 */
export function named(text) {
  return visible(text).replaceAll('" ', '"\u00a0');
}

/** True if the features cover the text as a sheet, as in style.css. */
export const narrow = () => matchMedia("(max-width: 63.99rem)").matches;

/**
 * A token's text in one line, with visible spaces at its ends.
 * @param {string} text
 */
export function shown(text) {
  return text === "" ? "∅" : visible(text).replace(/\n/g, "↵").replace(/^ | $/g, "·");
}

/**
 * @param {number | null | undefined} value
 * @param {number} digits
 */
export function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 10 ** digits) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(digits))).replace("-", "−");
}

/**
 * A number of things: `1 token`, `1,200 tokens`.
 * @param {number} value
 * @param {string} thing
 */
export const count = (value, thing) => `${value.toLocaleString("en")} ${thing}${value === 1 ? "" : "s"}`;

/** @param {number | null | undefined} share */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share === 0) return "0 %";
  const value = share * 100;
  return value < 0.001 ? "< 0.001 %" : `${Number(value.toPrecision(value >= 1 ? 3 : 2))} %`;
}

/**
 * A bar whose length is the proportion of `value` to `most`.
 * @param {number} value
 * @param {number} most
 * @param {string} kind
 */
export function bar(value, most, kind = "") {
  const fill = el("i", { class: `fill ${kind}` });
  fill.style.width = `${Math.min(100, (Math.abs(value) / (most || 1)) * 100).toFixed(1)}%`;
  return el("span", { class: "bar", "aria-hidden": "true" }, fill);
}

/**
 * Debounces `call`: it runs `wait` ms after the last request. `cancel` drops a pending call.
 * @param {() => void} call
 * @param {number} wait
 */
export function later(call, wait) {
  let timer = 0;
  const request = () => {
    clearTimeout(timer);
    timer = setTimeout(call, wait);
  };
  return Object.assign(request, { cancel: () => clearTimeout(timer) });
}

/**
 * The text with an upper-case first letter.
 * @param {string} text
 */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
