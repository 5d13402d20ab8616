import { $, el } from "../view/dom.js";
import { parseSpec, resolve } from "../state/spec.js";
/** @import {About, Intervention} from "../types.d.ts" */

/**
 * The buttons that make the text about a subject, and the one that ends steering. They are absent if the server
 * knows no subjects. Returns a function that marks those that steer the text.
 * @param {About} about
 * @param {(steer: Intervention[], prompt: string | undefined) => void} start
 */
export function drawTopics(about, start) {
  /** @type {{spec: Intervention, button: HTMLElement}[]} */
  const topics = (about.topics ?? []).flatMap(({ name, steer, prompt }) => {
    const spec = parseSpec(steer);
    if (!spec) return [];
    spec.hook = resolve(spec.hook, about);
    return [{ spec, button: el("button", { type: "button", class: "pill", "aria-label": `Make it about ${name}`, "aria-pressed": "false", onclick: () => start([{ ...spec }], prompt) }, name) }];
  });
  $("try").hidden = topics.length === 0;
  $("try").replaceChildren(el("span", { class: "hint", id: "try-name" }, "Make it about"), ...topics.map(({ button }) => button), el("button", { type: "button", class: "pill", onclick: () => start([], undefined) }, "No steering"));
  return (/** @type {Intervention[]} */ steer) => {
    for (const { spec, button } of topics) button.setAttribute("aria-pressed", String(steer.some(({ hook, feature }) => hook === spec.hook && feature === spec.feature)));
  };
}
