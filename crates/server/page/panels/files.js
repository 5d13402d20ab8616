import { $ } from "../view/dom.js";
import { copy, sayCopied } from "../view/copy.js";
import { download } from "../view/download.js";
import { standalonePage } from "../view/standalone.js";
import { fileName, readRecording } from "../state/recording.js";
import { plainText, steeringInWords } from "../state/plain.js";
import { fromFragment } from "../state/share.js";
import { exported } from "./recordings.js";
/** @import {About, Recording, Run, State} from "../types.d.ts" */
/** @import {Output} from "../view/output.js" */

/**
 * The buttons that take the run out of the page, and the one that brings one back. Returns a function that
 * updates the plain text.
 * @param {About} about
 * @param {Output} output
 * @param {{last: () => Run | null, opened: (file: string, run: Recording, state: State) => void, failed: (message: string) => void, say: (message: string) => void}} owner
 */
export function wireFiles(about, output, owner) {
  $("export").addEventListener("click", () => {
    const last = owner.last();
    if (last) download(fileName(last.state), exported(last, output, about));
  });
  $("html").addEventListener("click", () => {
    const last = owner.last();
    if (!last) return;
    const { state, origin } = last;
    const model = origin?.model ?? about.name;
    const asked = `${model} · temperature ${state.temperature} · seed ${state.seed} · nanoscope ${origin?.nanoscope ?? about.version}`;
    const how = steering(state, output).map((line, at) => (at < state.steer.length ? `Steered: ${line}` : line));
    const page = standalonePage(`A run of ${model}`, exported(last, output, about), [asked, ...how], recordedMarks(output));
    download(fileName(state, "html"), page, "text/html");
  });
  $("copy").addEventListener("click", async () => {
    const text = plain(owner.last(), output);
    if (await copy(text)) {
      sayCopied($("copy"), "Copy as text");
      owner.say("Text copied.");
    } else {
      $("plain").open = true;
    }
  });
  const update = () => {
    $("plain-text").textContent = $("plain").open ? plain(owner.last(), output) : "";
  };
  $("plain").addEventListener("toggle", update);
  $("open").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", async () => {
    const [file] = $("file").files;
    if (file) await open(file, owner);
    // So that the same file can be opened again.
    $("file").value = "";
  });
  return update;
}

/**
 * The marks of the tokens of an exported run, in which the model's input comes before each text.
 * @param {Output} output
 */
const recordedMarks = ({ marks, read }) => marks.map((some, choice) => [...Array(read?.[choice]?.tokens.length ?? 0).fill(false), ...some]);

/** @param {State} state @param {Output} output */
const steering = ({ steer }, { endings, texts }) => steeringInWords(steer, endings[0], texts[0]?.tokens ?? []);

/**
 * The run as plain text.
 * @param {Run | null} last
 * @param {Output} output
 */
export function plain(last, output) {
  if (!last) return "";
  const texts = output.texts.map((text, choice) => ({ name: text.name, written: output.written(choice) }));
  return plainText(last.state, texts.length === 2 ? texts.toReversed() : texts, steering(last.state, output));
}

/**
 * Reads the run in a file.
 * @param {File} file
 * @param {{opened: (file: string, run: Recording, state: State) => void, failed: (message: string) => void}} owner
 */
async function open(file, owner) {
  try {
    const run = readRecording(await file.text());
    const { state, unknown } = fromFragment(run.link);
    if (unknown.length > 0) throw new Error(`its link has parts that this page does not understand: ${unknown.join(", ")}`);
    owner.opened(file.name, run, state);
  } catch (error) {
    owner.failed(`${file.name} cannot be opened: ${/** @type {Error} */ (error).message}`);
  }
}
