// Models and SAEs of the user, from folders that are chosen or dropped. Loaded by the page beside main.js.
import { $, el } from "../view/dom.js";
import { keep } from "./engine.js";
import { whenReady } from "./loading.js";
import { forgetOwn } from "./store.js";

/** The size of files that a page can hold beside the model that is made of them, in bytes. */
const MOST = 1e9;

/** @typedef {{path: string, file: File}} Chosen */

const status = el("p", { class: "own-status", id: "own-status", role: "status", hidden: true });
const input = el("input", { type: "file", webkitdirectory: true, multiple: true, hidden: true, id: "own-files", "aria-label": "The folder of a model or of an SAE" });
const button = el("button", { type: "button", class: "quiet", id: "own", title: "The folder of a nanochat or Hugging Face model, or of an SAE. It stays on this machine." }, "Your model");
const back = el("button", { type: "button", class: "quiet", id: "own-end", hidden: true }, "Back to the demo");

/** @param {string} message @param {boolean} isError */
function say(message, isError = false) {
  status.textContent = message;
  status.hidden = message === "";
  status.classList.toggle("error", isError);
}

/** Starts the page again, without the state of the model before. */
function again() {
  history.replaceState(null, "", location.pathname);
  location.reload();
}

/** @param {string} name @param {Chosen[]} files */
async function open(name, files) {
  const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
  if (files.length === 0) return say("There are no files in what was dropped.", true);
  if (bytes > MOST) return say(`${name} has ${Math.round(bytes / 1e6)} MB. A page can hold about ${MOST / 1e6} MB; nanoscope serve has no such limit.`, true);
  say(`Opening ${name}, ${(bytes / 1e6).toFixed(1)} MB. It stays on this machine.`);
  try {
    await keep(name, files);
    again();
  } catch (error) {
    say(`${name} cannot be opened: ${error instanceof Error ? error.message : error}`, true);
  }
}

/** The files below a dropped entry, with their paths. @param {FileSystemEntry} entry @param {string} before @returns {Promise<Chosen[]>} */
async function below(entry, before = "") {
  const path = `${before}${entry.name}`;
  if (entry.isFile) return [{ path, file: await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject)) }];
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  /** @type {Chosen[]} */
  const found = [];
  for (;;) {
    // At most a hundred at a time.
    const some = await new Promise((/** @type {(entries: FileSystemEntry[]) => void} */ resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return found;
    for (const inner of some) found.push(...(await below(inner, `${path}/`)));
  }
}

/** The files without the one folder that has them all, and its name. @param {Chosen[]} files @returns {[string, Chosen[]]} */
function withoutFolder(files) {
  const [first] = files[0]?.path.split("/") ?? [""];
  const isFolder = files.every(({ path }) => path.startsWith(`${first}/`));
  if (!isFolder) return [files.length === 1 ? first : "your files", files];
  return [first, files.map(({ path, file }) => ({ path: path.slice(first.length + 1), file }))];
}

button.addEventListener("click", () => input.click());
input.addEventListener("change", () => {
  const files = [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
  open(...withoutFolder(files));
  // So that the same folder can be opened again.
  input.value = "";
});
back.addEventListener("click", async () => {
  await forgetOwn();
  again();
});
const hasFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dropping");
});
addEventListener("drop", async (event) => {
  document.body.classList.remove("dropping");
  if (!hasFiles(event)) return;
  event.preventDefault();
  // Before anything is awaited, because the list is empty afterwards.
  const entries = [...(event.dataTransfer?.items ?? [])].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const files = (await Promise.all(entries.map((entry) => below(entry)))).flat();
  await open(...withoutFolder(files));
});

document.querySelector(".tools")?.prepend(back, button);
$("shared").after(status);
document.body.append(input);
whenReady(({ own }) => {
  back.hidden = own === null;
});
