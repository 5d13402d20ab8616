/**
 * The element with this id, which the page has.
 * @returns {any}
 */
export const $ = (/** @type {string} */ id) => {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
};

/**
 * An element. Whatever comes from the model, a label or a person goes through here as text or as an
 * attribute's value, never as markup.
 * @param {string} tag
 * @param {Record<string, any>} attributes functions are listeners: `onclick`
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

const HIDDEN = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

/**
 * Text without characters that are not seen or turn the line around; line ends stay.
 * @param {string} text
 */
export function visible(text) {
  return text.replace(HIDDEN, (c) => (c === "\t" ? "⇥" : `⟨${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}⟩`));
}

/**
 * A feature's label, its quotes not torn from the space that a token begins with.
 * @param {string} text
 */
export function named(text) {
  return visible(text).replaceAll('" ', '"\u00a0');
}

/** True if the features cover the text as a sheet, as in style.css. */
export const narrow = () => matchMedia("(max-width: 63.99rem)").matches;

/**
 * A token's text in one line, with its spaces seen at its ends.
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

/** @param {number | null | undefined} share */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share === 0) return "0 %";
  const value = share * 100;
  return value < 0.001 ? "< 0.001 %" : `${Number(value.toPrecision(value >= 1 ? 3 : 2))} %`;
}

/**
 * A bar as long as `value` is of `most`.
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
 * `call` once nothing has asked for it for `wait` ms; `cancel` takes back what was asked for.
 * @param {() => void} call
 * @param {number} wait
 */
export function later(call, wait) {
  let timer = 0;
  const ask = () => {
    clearTimeout(timer);
    timer = setTimeout(call, wait);
  };
  return Object.assign(ask, { cancel: () => clearTimeout(timer) });
}
