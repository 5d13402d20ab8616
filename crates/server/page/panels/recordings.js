import { request } from "../client/run.js";
import { automaticName, label, useNamesOf } from "../state/names.js";
import { namesOf, writeRecording } from "../state/recording.js";
import { toFragment } from "../state/share.js";
/** @import {About, Origin, Recording, Run} from "../types.d.ts" */
/** @import {Output} from "../view/output.js" */

/** Number of features per token and hook point whose automatic names are in the file. */
const NAMED = 8;

/**
 * The content of the file of a run: its origin, the request, all results, and the names of the features in it. A
 * run that was opened keeps what its file said.
 * @param {Run} last
 * @param {Output} output
 * @param {About} about
 */
export function exported({ state, finished, origin }, output, about) {
  const texts = output.texts.map((text, choice) => ({
    steered: state.steer.length > 0 && choice === 0,
    ...output.endings[choice],
    tokens: [...(output.read?.[choice]?.tokens ?? []), ...text.tokens],
  }));
  const { nanoscope, model, request: asked, labels, automatic_names } = origin ?? ownOrigin(state, texts, about);
  return writeRecording({ nanoscope, model, link: toFragment(state), finished, request: asked, labels, automatic_names, texts });
}

/**
 * @param {Run["state"]} state
 * @param {Recording["texts"]} texts
 * @param {About} about
 * @returns {Origin}
 */
function ownOrigin(state, texts, about) {
  const tokens = texts.map((text) => text.tokens);
  const labels = namesOf(tokens, label);
  const automatic_names = namesOf(tokens, (hook, feature) => (label(hook, feature) ? "" : automaticName(hook, feature)), NAMED);
  return { nanoscope: about.version, model: about.name, request: request(state, about), labels, automatic_names };
}

/**
 * Draws the texts of an opened run. Names that the server has are not replaced by those of the file.
 * @param {Recording} run
 * @param {boolean} chat
 * @param {Output} output
 */
export function replay(run, chat, output) {
  useNamesOf(run);
  output.begin({ compare: run.texts.length === 2, steered: run.texts[0].steered, chat });
  for (const [choice, { tokens, steered: _, ...ending }] of run.texts.entries()) {
    output.prompt(choice, tokens.filter((token) => token.prompt));
    for (const token of tokens) if (!token.prompt) output.token(choice, token);
    output.end(choice, { ...ending, finish: ending.finish ?? "not finished" });
  }
  output.compared();
}
