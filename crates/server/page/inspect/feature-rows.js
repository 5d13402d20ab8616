import { el } from "../view/dom.js";
import { place } from "../state/spec.js";

/** Number of features shown per layer before the list is expanded. */
const FEW = 6;

/**
 * The features of a layer: a few, and all on demand.
 * @template T
 * @param {string} hook
 * @param {T[]} features
 * @param {(feature: T) => Node} row
 * @param {Set<string>} wide hook points whose lists are expanded
 */
export function layer(hook, features, row, wide) {
  const list = el("ol", { class: "features" });
  const draw = () => list.replaceChildren(...(wide.has(hook) ? features : features.slice(0, FEW)).map(row));
  const text = () => (wide.has(hook) ? "Fewer" : `All ${features.length}`);
  draw();
  const more = features.length > FEW && el("button", { type: "button", class: "link more", "aria-expanded": String(wide.has(hook)), onclick: (/** @type {Event} */ event) => {
    if (!wide.delete(hook)) wide.add(hook);
    draw();
    const button = /** @type {HTMLElement} */ (event.currentTarget);
    button.textContent = text();
    button.setAttribute("aria-expanded", String(wide.has(hook)));
  } }, text());
  return el("section", { class: "layer", "aria-label": place(hook) }, el("h3", { title: hook }, place(hook), more), features.length > 0 ? list : el("p", { class: "hint" }, "No active features."));
}
