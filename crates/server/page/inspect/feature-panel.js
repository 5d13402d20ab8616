import { json } from "../client/api.js";
import { UNTIL } from "../client/transport.js";
import { copyButton } from "../view/copy.js";
import { download } from "../view/download.js";
import { bar, capital, el, number, percent, shown, visible } from "../view/dom.js";
import { nameSpan, otherName } from "../view/name.js";
import { featureData, featurePath } from "./feature-data.js";
import { title } from "./inspector.js";
import { pinButton } from "./pin-list.js";
import { label, rename } from "../state/names.js";
import { toFeature } from "../state/share.js";
import { level } from "../view/shade.js";
import { place as where } from "../state/spec.js";
/** @import {About, FeatureData, SaeInfo} from "../types.d.ts" */

/**
 * The panel of a feature, which is filled in when its data arrive.
 * @param {About} about
 * @param {string} hook
 * @param {number} feature
 * @param {{shade: () => void, steer: () => void, feature: (hook: string, feature: number) => void, named: () => void, failed: (error: unknown) => void}} act
 */
export function featurePanel(about, hook, feature, act) {
  const name = el("span");
  const other = el("div");
  const rest = el("div", {}, el("p", { class: "hint" }, "Loading…"));
  const entitle = () => {
    name.replaceChildren(nameSpan(hook, feature));
    other.replaceChildren(...[otherName(hook, feature)].filter((line) => line !== null));
  };
  entitle();
  featureData(about, hook, feature).then((data) => {
    entitle();
    act.named();
    rest.replaceChildren(...facts(data, act));
    // Unless it has been edited meanwhile.
    if (input.value === before) input.value = label(hook, feature);
  }, (error) => {
    rest.replaceChildren(el("p", { class: "error" }, error.message));
    act.failed(error);
  });

  const input = el("input", { type: "text", maxlength: 500, autocomplete: "off", placeholder: "What does it respond to?", "aria-label": "Label" });
  const before = label(hook, feature);
  input.value = before;
  const status = el("span", { class: "hint", role: "status" });
  const sae = about.saes.find((one) => one.hook === hook);
  const place = el("p", { class: "hint place" });
  const tell = () => place.replaceChildren(...(sae ? whereSaved(sae) : []));
  tell();
  const save = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      const answer = await json(`${featurePath(about, hook, feature)}/label`, { method: "PUT", body: { label: input.value === "" ? "" : input.value.trim() || input.value } });
      const text = answer.label ?? "";
      rename(hook, feature, text);
      entitle();
      if (sae && answer.saved) sae.labels_saved = answer.saved;
      tell();
      status.textContent = !text ? "Removed." : answer.saved?.file ? "Saved." : `Kept ${UNTIL}.`;
    } catch (error) {
      status.textContent = capital(/** @type {Error} */ (error).message.replace(/^label: /, ""));
      act.failed(error);
    }
  };
  const downloadAll = async () => {
    try {
      const labels = await json(`/api/saes/${encodeURIComponent(sae?.source ?? hook)}/labels`);
      download(`labels-${hook}.json`, `${JSON.stringify(labels, null, 1)}\n`);
    } catch (error) {
      status.textContent = capital(/** @type {Error} */ (error).message);
      act.failed(error);
    }
  };
  return el("div", {},
    el("p", { class: "hint above" }, `${where(hook)} · #${feature}`),
    title(name),
    other,
    el("div", { class: "acts" },
      el("button", { type: "button", class: "main", onclick: act.steer }, "Steer this"),
      el("button", { type: "button", onclick: act.shade }, "Shade by this"),
      ...pinButton(about, hook, feature),
      ...copyButton("Copy link", () => `${location.origin}${location.pathname}${toFeature(hook, feature)}`)),
    el("details", { class: "edit" }, el("summary", {}, "Edit the label"), el("form", { onsubmit: save }, input, el("button", { type: "submit" }, "Save"), status), place, sae && el("button", { type: "button", class: "link", onclick: downloadAll }, "Download all labels of this SAE")),
    rest);
}

/**
 * The place of the labels of an SAE that the server saves.
 * @param {SaeInfo} sae
 * @returns {(Node | string)[]}
 */
function whereSaved({ labels_saved: { file, why_not } }) {
  if (file) return ["Labels are saved on the server in ", el("code", {}, visible(file)), "."];
  return [`Labels are kept only ${UNTIL}${why_not ? `, because no file can be written (${visible(why_not)})` : ""}. Download them to keep them.`];
}

/**
 * @param {FeatureData} data
 * @param {{feature: (hook: string, feature: number) => void}} act
 */
function facts(data, act) {
  const fact = (/** @type {string} */ term, /** @type {string} */ value) => el("div", {}, el("dt", {}, term), el("dd", {}, value));
  const has = (/** @type {unknown} */ value) => value !== undefined && value !== null;
  const numbers = [
    has(data.density) && fact("density", percent(data.density)),
    has(data.max) && fact("max activation", number(data.max)),
    has(data.mean) && fact("mean", number(data.mean)),
    has(data.decoder_norm) && fact("decoder norm", number(data.decoder_norm)),
  ];
  const out = [el("dl", { class: "facts" }, ...numbers)];
  const section = (/** @type {string} */ name, /** @type {string} */ hint, /** @type {Node[]} */ ...content) => out.push(el("section", {}, el("h3", {}, name, " ", el("span", { class: "hint" }, hint)), ...content));

  if (data.top_tokens?.length) {
    section("Top tokens", "tokens that it fires on", el("p", { class: "chips" }, ...data.top_tokens.slice(0, 12).map(([text, count]) => el("span", { class: "chip token", title: `${count} times` }, shown(text)))));
  }
  const promoted = data.promoted ?? [];
  const suppressed = data.suppressed ?? [];
  if (promoted.length + suppressed.length > 0) {
    const most = Math.max(...[...promoted, ...suppressed].map(([, , logit]) => Math.abs(logit)));
    const side = (/** @type {string} */ name, /** @type {FeatureData["promoted"]} */ tokens, /** @type {string} */ kind) => el("div", {}, el("h4", {}, name), el("ol", { class: "logits" }, ...(tokens ?? []).slice(0, 8).map(([id, text, logit]) => el("li", { title: `token ${id}` }, bar(logit, most, kind), el("span", { class: "token" }, shown(text)), el("span", { class: "value" }, `${logit < 0 ? "−" : "+"}${Math.abs(logit).toFixed(2)}`)))));
    section("Next tokens", "tokens that it makes more and less likely", el("div", { class: "sides" }, side("More", promoted, "up"), side("Less", suppressed, "down")));
  }
  if (data.examples?.length) {
    const most = data.max || Math.max(...data.examples.flatMap((example) => example.values.map(([, value]) => value)));
    section("Examples", "texts with its highest activations", el("ol", { class: "examples" }, ...data.examples.slice(0, 8).map((example) => el("li", {}, ...sample(example, most)))));
  }
  if (data.nearest?.length) {
    section("Nearest features", "cosine similarity of decoder directions", el("ol", { class: "features near" }, ...data.nearest.slice(0, 8).map(([index, cosine]) => el("li", {}, el("button", { type: "button", onclick: () => act.feature(data.hook, index) }, el("span", { class: "value" }, cosine.toFixed(2).replace("-", "−")), el("span", { class: "index" }, `#${index}`), nameSpan(data.hook, index))))));
  }
  return out;
}

/**
 * The part of an example around its peak.
 * @param {NonNullable<FeatureData["examples"]>[number]} example
 * @param {number} most
 */
function sample({ tokens, values, peak }, most) {
  const by = new Map(values);
  const [from, to] = [Math.max(0, peak - 12), Math.min(tokens.length, peak + 9)];
  const spans = tokens.slice(from, to).map((text, n) => {
    const value = Math.abs(by.get(from + n) ?? 0);
    const span = el("span", { class: `t s${level(value, most)}`, title: value > 0 ? number(value) : null }, visible(text).replace(/\n/g, "↵"));
    if (from + n === peak) span.classList.add("peak");
    return span;
  });
  return [from > 0 ? "…" : "", ...spans, to < tokens.length ? "…" : ""];
}
