import { $, el } from "../view/dom.js";
import { nameSpan } from "../view/name.js";
import { onRename } from "../state/names.js";
import { MOST, isFull, isPinned, onPin, pins, togglePin } from "../state/pins.js";
import { place } from "../state/spec.js";
import { featureData } from "./feature-data.js";
/** @import {About} from "../types.d.ts" */

/**
 * Draws the pinned features of the model, now and whenever they change.
 * @param {About} about
 * @param {(hook: string, feature: number) => void} open
 */
export function pinList(about, open) {
  const draw = () => {
    const some = pins(about.name).filter(({ hook, feature }) => feature < (about.saes.find((sae) => sae.hook === hook)?.d_sae ?? 0));
    $("pinned").hidden = some.length === 0;
    $("pins").replaceChildren(...some.map(({ hook, feature }) => el("li", {}, el("button", { type: "button", class: "pill", title: `${place(hook)} #${feature}`, onclick: () => open(hook, feature) }, nameSpan(hook, feature)))));
    return some;
  };
  for (const { hook, feature } of draw()) featureData(about, hook, feature).then(draw, () => {});
  onPin(draw);
  onRename(draw);
}

/**
 * A button that pins a feature or removes its pin, and the line that says why it cannot.
 * @param {About} about
 * @param {string} hook
 * @param {number} feature
 */
export function pinButton(about, hook, feature) {
  const pin = { hook, feature };
  const full = el("span", { class: "hint", role: "status" });
  const button = el("button", { type: "button", class: "pin", onclick: () => {
    const room = isPinned(about.name, pin) || !isFull(about.name);
    full.textContent = room ? "" : `${MOST} features are pinned. Remove one of them first.`;
    if (room) togglePin(about.name, pin);
    show();
  } });
  const show = () => {
    const own = isPinned(about.name, pin);
    button.textContent = own ? "Pinned" : "Pin";
    button.setAttribute("aria-pressed", String(own));
  };
  show();
  return [button, full];
}
