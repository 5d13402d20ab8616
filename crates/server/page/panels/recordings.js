import { request } from "../client/run.js";
import { automaticName, label, learn } from "../state/names.js";
import { namesOf, writeRecording } from "../state/recording.js";
import { toFragment } from "../state/share.js";
/** @import {About, Recording, State} from "../types.d.ts" */
/** @import {Output} from "../view/output.js" */

/** Number of features per token and hook point whose automatic names are in the file. */
const NAMED = 8;

/**
 * The content of the file of a run: the request, all results, and the labels of the features in it.
 * @param {{state: State, finished: boolean}} last
 * @param {Output} output
 * @param {About} about
 */
export function exported({ state, finished }, output, about) {
  const texts = output.texts.map((text, choice) => ({
    steered: state.steer.length > 0 && choice === 0,
    ...output.endings[choice],
    tokens: [...(output.read?.[choice]?.tokens ?? []), ...text.tokens],
  }));
  const tokens = texts.map((text) => text.tokens);
  const labels = namesOf(tokens, label);
  const automatic_names = namesOf(tokens, (hook, feature) => (label(hook, feature) ? "" : automaticName(hook, feature)), NAMED);
  return writeRecording({ nanoscope: about.version, model: about.name, link: toFragment(state), finished, request: request(state, about), labels, automatic_names, texts });
}

/**
 * Draws the texts of an opened run. Labels that the server has are not replaced by those of the file.
 * @param {Recording} run
 * @param {boolean} chat
 * @param {Output} output
 */
export function replay(run, chat, output) {
  for (const [hook, names] of Object.entries(run.labels)) {
    for (const [index, name] of Object.entries(names)) if (!label(hook, Number(index))) learn(hook, Number(index), name);
  }
  for (const [hook, names] of Object.entries(run.automatic_names)) {
    for (const [index, name] of Object.entries(names)) learn(hook, Number(index), name, true);
  }
  output.begin({ compare: run.texts.length === 2, steered: run.texts[0].steered, chat });
  for (const [choice, { tokens, steered: _, ...ending }] of run.texts.entries()) {
    output.prompt(choice, tokens.filter((token) => token.prompt));
    for (const token of tokens) if (!token.prompt) output.token(choice, token);
    output.end(choice, { ...ending, finish: ending.finish ?? "not finished" });
  }
  output.compared();
}
