import { el } from "../view/dom.js";
import { finder } from "./finder.js";
/** @import {About, Hit} from "../types.d.ts" */

/**
 * The panel beside the text while nothing is open, with the first steps.
 * @param {About} about
 * @param {(hit: Hit) => void} look
 */
export function noFeatures(about, look) {
  if (about.saes.length === 0) return el("div", { class: "nothing" }, el("h2", {}, "No features"), el("p", {}, "This server has no SAE. A token shows its position, its number and its probability."));
  return el("div", { class: "nothing" },
    el("h2", {}, "Features of a word"),
    el("p", {}, "Click a word. The features that are active there appear here, with their names."),
    el("p", {}, "A feature is a direction in the model that stands for something, such as “a dog comes next”. A sparse autoencoder (SAE) finds such directions."),
    el("p", {}, "Steering turns a feature up or down while the model writes."),
    finder(about, "Look up a feature", look));
}

/**
 * The advice for a server without an SAE.
 * @param {About} about
 * @returns {Node[]}
 */
export function noSae({ model }) {
  const hook = `blocks.${Math.max(0, Math.floor(model.n_layer / 2))}.hook_resid_post`;
  return [
    el("p", {}, "This server has no SAE, so there are no features to show or to steer. Train one on texts of your own, and start the server with it:"),
    el("pre", {}, el("code", {}, `nanoscope train --model MODEL --text TEXT --hook ${hook} --out runs/first\nnanoscope serve --model MODEL --sae runs/first/${hook}/final`)),
    el("p", {}, "An SAE that you have already: ", el("code", {}, "nanoscope serve --model MODEL --sae PATH"), "."),
  ];
}
