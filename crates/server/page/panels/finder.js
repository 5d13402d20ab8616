import { Refused, json } from "../client/api.js";
import { el, later, visible } from "../view/dom.js";
import { nameSpan } from "../view/name.js";
import { learn } from "../state/names.js";
import { place } from "../state/spec.js";
/** @import {About, Hit} from "../types.d.ts" */

let count = 0;

/** Number of hits that are asked for. */
const LIMIT = 50;

/**
 * The features that a search finds, the best first. A server without the search finds labels and indices.
 * @param {About} about
 * @param {string} text
 * @param {AbortSignal} signal
 * @returns {Promise<Hit[]>}
 */
async function find(about, text, signal) {
  try {
    return (await json(`/api/features?q=${encodeURIComponent(text)}&limit=${LIMIT}`, { signal })).hits;
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error;
  }
  // The deepest layer first, because steering it affects the text most directly.
  const [, layer, index] = /^(?:(\d{1,4})\s*[:/\s-]\s*)?#?(\d{1,9})$/.exec(text) ?? [];
  if (index !== undefined) {
    const saes = about.saes.filter((sae) => Number(index) < sae.d_sae && (layer === undefined || sae.hook.startsWith(`blocks.${layer}.`)));
    return saes.map(({ hook }) => ({ hook, index: Number(index) })).reverse();
  }
  const order = (/** @type {Hit} */ hit) => about.saes.findIndex((sae) => sae.hook === hit.hook);
  const { results } = await json(`/api/labels?q=${encodeURIComponent(text)}&limit=${LIMIT}`, { signal });
  return results.toSorted((/** @type {Hit} */ a, /** @type {Hit} */ b) => order(b) - order(a));
}

/**
 * A search box for features: by a word of their names, the tokens that they fire on or promote, or their index.
 * Calls `pick` with the chosen one.
 * @param {About} about
 * @param {string} name
 * @param {(hit: Hit) => void} pick
 * @returns {HTMLElement}
 */
export function finder(about, name, pick) {
  const id = `found-${count++}`;
  const input = el("input", { type: "search", role: "combobox", "aria-label": name, "aria-expanded": "false", "aria-controls": id, "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false", placeholder: `${name}: dog, rain, 1909 …`, maxlength: 200 });
  const list = el("ul", { id, role: "listbox", "aria-label": "Features found", class: "found", hidden: true });
  /** @type {Hit[]} */
  let results = [];
  let at = -1;
  let asked = new AbortController();

  const close = () => {
    asked.abort();
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    at = -1;
  };
  const choose = (/** @type {number} */ n) => {
    const found = results[n];
    if (!found) return;
    input.value = "";
    close();
    pick(found);
  };
  const mark = (/** @type {number} */ n) => {
    at = n;
    for (const [place, item] of [...list.children].entries()) item.setAttribute("aria-selected", String(place === at));
    list.children[at]?.scrollIntoView({ block: "nearest" });
    if (at >= 0) input.setAttribute("aria-activedescendant", `${id}-${at}`);
  };
  const show = (/** @type {string} */ otherwise) => {
    list.replaceChildren(...results.map((found, n) => el("li", { id: `${id}-${n}`, role: "option", "aria-selected": "false", onclick: () => choose(n) }, el("span", { class: "hint" }, `${place(found.hook)} #${found.index}`), el("span", {}, nameSpan(found.hook, found.index), found.why && el("span", { class: "why" }, visible(found.why))))));
    if (results.length === 0) list.append(el("li", { class: "hint none" }, otherwise));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(results.length > 0 ? 0 : -1);
  };

  const search = later(async () => {
    asked.abort();
    asked = new AbortController();
    const { signal } = asked;
    const text = input.value.trim();
    if (text === "") return close();
    try {
      results = await find(about, text, signal);
      if (signal.aborted) return;
      for (const { hook, index, label, auto } of results) learn(hook, index, label, auto === true);
      show(`No feature has to do with “${visible(text)}”. Try another word of the model’s texts, or an index such as 1909 or 3:1909.`);
    } catch (error) {
      if (signal.aborted) return;
      results = [];
      show(error instanceof Error ? error.message : String(error));
    }
  }, 140);

  input.addEventListener("input", search);
  input.addEventListener("blur", () => setTimeout(close, 150));
  input.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (list.hidden) return;
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by && results.length > 0) mark((at + by + results.length) % results.length);
    else if (event.key === "Enter") choose(at);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  // The press would move the focus and close the list before the click.
  list.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => event.preventDefault());
  return el("div", { class: "finder" }, input, list);
}
