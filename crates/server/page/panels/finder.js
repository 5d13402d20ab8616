import { Refused, json } from "../client/api.js";
import { count, el, later, visible } from "../view/dom.js";
import { nameSpan } from "../view/name.js";
import { learn } from "../state/names.js";
import { place } from "../state/spec.js";
/** @import {About, Hit} from "../types.d.ts" */

let finders = 0;

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
  const id = `found-${finders++}`;
  const sae = about.saes.at(-1);
  const index = Math.min(1909, (sae?.d_sae ?? 1) - 1);
  const input = el("input", { type: "search", role: "combobox", "aria-label": name, "aria-expanded": "false", "aria-controls": id, "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false", placeholder: `${name}: dog, rain, ${index} …`, maxlength: 200 });
  const list = el("ul", { id, role: "listbox", "aria-label": "Features found", class: "found", hidden: true });
  // The number of hits, which is not seen; or the advice without any.
  const status = el("p", { class: "sr", role: "status" });
  /** @type {Hit[]} */
  let results = [];
  let at = -1;
  /** True from a change of the query until its hits are there. */
  let pending = false;
  /** True if the first hit is taken when it arrives. */
  let take = false;
  let asked = new AbortController();

  const close = () => {
    search.cancel();
    asked.abort();
    pending = take = false;
    list.hidden = true;
    tell("", false);
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    at = -1;
  };
  const tell = (/** @type {string} */ text, /** @type {boolean} */ seen) => {
    status.textContent = text;
    status.className = seen ? "found none hint" : "sr";
  };
  const choose = (/** @type {Hit | undefined} */ found) => {
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
    else input.removeAttribute("aria-activedescendant");
  };
  const show = (/** @type {Hit[]} */ hits, /** @type {string} */ otherwise) => {
    pending = false;
    results = hits;
    if (take && hits.length > 0) return choose(hits[0]);
    take = false;
    list.replaceChildren(...hits.map((found, n) => el("li", { id: `${id}-${n}`, role: "option", "aria-selected": "false", onclick: () => choose(found) }, el("span", { class: "hint" }, `${place(found.hook)} #${found.index}`), el("span", {}, nameSpan(found.hook, found.index), found.why && el("span", { class: "why" }, visible(found.why))))));
    list.hidden = hits.length === 0;
    list.removeAttribute("aria-busy");
    if (hits.length > 0) tell(`${count(hits.length, "feature")}${hits.length === LIMIT ? ", the best ones" : ""}.`, false);
    else tell(otherwise, true);
    input.setAttribute("aria-expanded", String(hits.length > 0));
    mark(hits.length > 0 ? 0 : -1);
  };

  const search = later(async () => {
    asked.abort();
    asked = new AbortController();
    const { signal } = asked;
    const text = input.value.trim();
    if (text === "") return close();
    try {
      const hits = await find(about, text, signal);
      if (signal.aborted) return;
      for (const found of hits) learn(found.hook, found.index, found.label, found.auto === true);
      const layer = /^blocks\.(\d+)\./.exec(sae?.hook ?? "")?.[1];
      show(hits, `No feature matches “${visible(text)}”. Try another word of the model’s texts, or an index such as ${index}${layer === undefined ? "" : ` or ${layer}:${index}`}.`);
    } catch (error) {
      if (!signal.aborted) show([], error instanceof Error ? error.message : String(error));
    }
  }, 140);

  input.addEventListener("input", () => {
    // The hits of the query before are those of another word.
    asked.abort();
    [results, pending, take] = [[], true, false];
    list.setAttribute("aria-busy", "true");
    mark(-1);
    search();
  });
  input.addEventListener("blur", () => setTimeout(() => {
    // The user has come back to the box and goes on typing.
    if (!take && document.activeElement !== input) close();
  }, 150));
  input.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const isOpen = !list.hidden || status.textContent !== "";
    if (event.isComposing || (!isOpen && !(pending && ["Enter", "Escape"].includes(event.key)))) return;
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by && results.length > 0) mark((at + by + results.length) % results.length);
    else if (event.key === "Enter" && pending) take = input.value.trim() !== "";
    else if (event.key === "Enter") choose(results[at]);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  // The press would move the focus and close the list before the click.
  for (const part of [list, status]) part.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => event.preventDefault());
  return el("div", { class: "finder" }, input, list, status);
}
