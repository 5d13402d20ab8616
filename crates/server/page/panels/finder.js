import { json } from "../client/api.js";
import { el, later, named } from "../view/dom.js";
import { learn } from "../state/names.js";
import { place } from "../state/spec.js";
/** @import {About, Found} from "../types.d.ts" */

let count = 0;

/**
 * A search box for features, by label or index. Calls `pick` with the chosen feature.
 * @param {About} about
 * @param {string} name
 * @param {(hook: string, feature: number) => void} pick
 * @returns {HTMLElement}
 */
export function finder(about, name, pick) {
  const id = `found-${count++}`;
  const input = el("input", { type: "search", role: "combobox", "aria-label": name, "aria-expanded": "false", "aria-controls": id, "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false", placeholder: `${name}: label or index`, maxlength: 200 });
  const list = el("ul", { id, role: "listbox", "aria-label": "Features found", class: "found", hidden: true });
  /** @type {{hook: string, index: number, label?: string}[]} */
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
    learn(found.hook, found.index, found.label);
    input.value = "";
    close();
    pick(found.hook, found.index);
  };
  const mark = (/** @type {number} */ n) => {
    at = n;
    for (const [place, item] of [...list.children].entries()) item.setAttribute("aria-selected", String(place === at));
    list.children[at]?.scrollIntoView({ block: "nearest" });
    if (at >= 0) input.setAttribute("aria-activedescendant", `${id}-${at}`);
  };
  const show = (/** @type {string} */ otherwise) => {
    list.replaceChildren(...results.map((found, n) => el("li", { id: `${id}-${n}`, role: "option", "aria-selected": "false", onclick: () => choose(n) }, el("span", { class: "hint" }, `${place(found.hook)} #${found.index}`), el("span", {}, found.label ? named(found.label) : "no label"))));
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
    const [, layer, index] = /^(?:(\d{1,4})\s*[:/\s-]\s*)?#?(\d{1,9})$/.exec(text) ?? [];
    if (index !== undefined) {
      const saes = about.saes.filter((sae) => Number(index) < sae.d_sae && (layer === undefined || sae.hook.startsWith(`blocks.${layer}.`)));
      // The deepest layer first, because steering it affects the text most directly.
      results = saes.map(({ hook }) => ({ hook, index: Number(index) })).reverse();
      return show("No SAE has a feature with this index.");
    }
    try {
      const { results: found } = await json(`/api/labels?q=${encodeURIComponent(text)}&limit=30`, { signal });
      results = found.toSorted((/** @type {Found} */ a, /** @type {Found} */ b) => order(b) - order(a));
      show("No label matches. Enter an index to find any feature.");
    } catch (error) {
      if (signal.aborted) return;
      results = [];
      show(error instanceof Error ? error.message : String(error));
    }
  }, 140);
  const order = (/** @type {Found} */ found) => about.saes.findIndex((sae) => sae.hook === found.hook);

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
