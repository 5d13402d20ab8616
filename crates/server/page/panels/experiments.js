import { $, el } from "../view/dom.js";
import { featureData } from "./feature-panel.js";
/** @import {About, Intervention} from "../types.d.ts" */

/** Features of the demo with a clear effect. Each is offered only if its label contains the word. */
const EXPERIMENTS = [
  { name: "Make it about a dog", word: "dog", hook: "blocks.3.hook_resid_post", feature: 1909, value: 27 },
  { name: "About a bird", word: "bird", hook: "blocks.3.hook_resid_post", feature: 748, value: 25 },
  { name: "About painting", word: "paint", hook: "blocks.3.hook_resid_post", feature: 1268, value: 30 },
];

/**
 * Draws the buttons of the experiments.
 * @param {About} about
 * @param {(steer: Intervention[]) => void} start
 */
export async function experiments(about, start) {
  const offered = await Promise.all(EXPERIMENTS.map(async ({ name, word, hook, feature, value }) => {
    const sae = about.saes.find((one) => one.hook === hook);
    if (!sae || feature >= sae.d_sae) return null;
    const data = await featureData(about, hook, feature).catch(() => null);
    if (!data?.label?.includes(word)) return null;
    const steer = [{ hook, feature, op: "add", value, scale: "raw", at: "text", rest: "" }];
    return el("button", { type: "button", class: "pill", onclick: () => start(steer) }, name);
  }));
  const buttons = offered.filter((button) => button !== null);
  $("try").hidden = buttons.length === 0;
  $("try").replaceChildren(...buttons, el("button", { type: "button", class: "pill", onclick: () => start([]) }, "No steering"));
}
