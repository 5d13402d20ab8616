// The page's worker: loads the model, and answers the page's requests with it.
import { BASE, forgetOthers, forgetOwn, isMissing, keepOwn, ownFiles, siteFiles } from "./store.js";

/**
 * A message from the page.
 * @typedef {{kind: "ask", id: number, method: string, path: string, body: string} | {kind: "cancel", id: number}
 *   | {kind: "keep", name: string, files: {path: string, file: File}[]} | {kind: "rest"}} FromPage
 */
/** @typedef {import("./store.js").SiteFile} SiteFile */
/** @typedef {{hook: string, files: SiteFile[]}} SiteSae */
/** @typedef {{program: SiteFile, gpu: SiteFile | null, name: string, topics: unknown, model: SiteFile[], saes: SiteSae[]}} Manifest */
/** @typedef {import("./nanoscope_browser.js").Files} Files */
/** @typedef {import("./nanoscope_browser.js").Server} Server */
/** @typedef {{path: string, bytes: Uint8Array}} Loaded */

/** True if the model runs on a GPU. */
const onGpu = self.location.search === "?gpu";
/** @type {typeof import("./nanoscope_browser.js")} */
let program;
/** @type {Server} */
let server;
/** @type {Manifest} */
let manifest;
/** The requests that are being answered and were not cancelled. */
const open = new Set();

/** @param {import("./engine.js").FromWorker} message @param {Transferable[]} transfer */
const tell = (message, transfer = []) => self.postMessage(message, { transfer });
const words = (/** @type {unknown} */ error) => (error instanceof Error ? error.message : String(error));

/** Time between two looks at the page's messages, in ms. The tokens of this time are sent together. */
const LOOK = 10;
let looked = 0;
// A message to itself comes after those of the page that are waiting.
const channel = new MessageChannel();
/** @type {(() => void)[]} */
const waiting = [];
channel.port1.onmessage = () => {
  looked = performance.now();
  waiting.shift()?.();
};
const pause = (/** @type {boolean} */ beforeLong) => {
  if (!beforeLong && performance.now() - looked < LOOK) return undefined;
  return new Promise((/** @type {(value: void) => void} */ resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(null);
  });
};

/** @param {Loaded[]} loaded */
function filesOf(loaded) {
  const files = new program.Files();
  for (const { path, bytes } of loaded) files.add(path, bytes);
  return files;
}

/** Loads files of the site. @param {SiteFile[]} files @returns {Promise<Loaded[]>} */
const site = (files) => siteFiles(files, (done, total) => tell({ kind: "progress", done, total }));

/** The site's SAEs that are not loaded. @type {SiteSae[]} */
let rest = [];
const filesIn = (/** @type {SiteSae[]} */ saes) => saes.flatMap(({ files }) => files);

/** The SAEs that the page starts with: the first, those of the hook points in its address, and those that are kept. */
async function chosenSaes() {
  /** @type {SiteSae[]} */
  const chosen = [];
  for (const [at, sae] of manifest.saes.entries()) {
    const isNamed = self.location.hash.includes(sae.hook);
    // Where nothing can be kept, loading the others later would load everything again.
    const isChosen = at === 0 || isNamed || !(await isMissing(sae.files));
    (isChosen ? chosen : rest).push(sae);
  }
  return chosen;
}

/**
 * Opens the user's model, or the user's SAEs on the site's model.
 * @param {string} name
 * @param {Loaded[]} own
 */
async function openOwn(name, own) {
  const files = filesOf(own);
  if (files.hasModel()) return opened(files, undefined, name);
  return opened(filesOf(await site(manifest.model)), files, `${manifest.name} with ${name}`);
}

/**
 * @param {Files} model
 * @param {Files | undefined} saes
 * @param {string} name
 * @param {string} [topics]
 */
function opened(model, saes, name, topics) {
  return program.Server.open(model, saes, name, topics, pause);
}

async function start() {
  const response = await fetch(new URL("site.json", BASE), { cache: "no-cache" });
  if (!response.ok) throw new Error(`The list of this site's files cannot be downloaded (${response.status}).`);
  manifest = await response.json();
  const own = await ownFiles();
  const { gpu, model, saes } = manifest;
  const compiled = onGpu ? gpu : manifest.program;
  if (!compiled) throw new Error("This site has no program for GPUs.");
  const chosen = own ? [] : await chosenSaes();
  const [first, ...loaded] = await site(own ? [compiled] : [compiled, ...model, ...filesIn(chosen)]);
  tell({ kind: "starting" });
  // With the digest of the program, because a browser may keep the script of an earlier version for a while.
  program = await import(`./nanoscope_browser${onGpu ? "_gpu" : ""}.js?${compiled.file}`);
  await program.default({ module_or_path: first.bytes });
  if (own) {
    try {
      server = await openOwn(own.name, own.files);
      return own.name;
    } catch (error) {
      // The next attempt, on the CPU, tells whether the files or the GPU are the reason.
      if (onGpu) throw error;
      // They could be opened before, so the site has changed.
      await forgetOwn();
      throw new Error(`${own.name} can no longer be opened, and was removed from this browser: ${words(error)}`);
    }
  }
  server = await opened(filesOf(loaded), undefined, manifest.name, JSON.stringify(manifest.topics));
  await forgetOthers([manifest.program, ...(gpu ? [gpu] : []), ...model, ...filesIn(saes)]);
  return null;
}

/** @param {Extract<FromPage, {kind: "ask"}>} request */
async function answer({ id, method, path, body }) {
  open.add(id);
  const response = await server.answer(method, path, new TextEncoder().encode(body));
  /** @type {Record<string, string>} */
  const headers = {};
  for (const name of ["content-type", "content-disposition", "retry-after"]) {
    const value = response.header(name);
    if (value !== undefined) headers[name] = value;
  }
  tell({ kind: "head", id, status: response.status, headers });
  while (open.has(id)) {
    const bytes = /** @type {Uint8Array<ArrayBuffer> | undefined} */ (await response.next());
    if (!bytes) break;
    tell({ kind: "piece", id, bytes }, [bytes.buffer]);
  }
  response.free();
  open.delete(id);
  tell({ kind: "end", id });
}

/** @param {Extract<FromPage, {kind: "keep"}>} message */
async function keep({ name, files }) {
  const loaded = await Promise.all(files.map(async ({ path, file }) => ({ path, bytes: new Uint8Array(await file.arrayBuffer()) })));
  try {
    (await openOwn(name, loaded)).free();
    await keepOwn({ name, files: loaded });
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) throw error;
    return tell({ kind: "refused", message: words(error) });
  }
  tell({ kind: "kept" });
}

/** Loads the SAEs that are not loaded, for the next start of the page. */
async function keepRest() {
  try {
    await site(filesIn(rest));
  } catch (error) {
    return tell({ kind: "refused", message: words(error) });
  }
  tell({ kind: "kept" });
}

/** The model cannot go on after an error of the program. @param {unknown} error */
const broken = (error) => tell({ kind: "broken", message: `The model in this page stopped by an error of the program (${words(error)}).` });

const ready = start();
ready.then((own) => {
  const bytes = filesIn(rest).reduce((sum, { size }) => sum + size, 0);
  const hasGpuProgram = manifest.gpu !== null;
  tell({ kind: "ready", own, saes: own ? 0 : manifest.saes.length, rest: rest.length, bytes, onGpu, hasGpuProgram });
}, (error) => tell({ kind: "failed", message: words(error) }));

self.addEventListener("message", async ({ data }) => {
  const message = /** @type {FromPage} */ (data);
  await ready;
  if (message.kind === "cancel") open.delete(message.id);
  else if (message.kind === "ask") answer(message).catch(broken);
  else if (message.kind === "rest") keepRest().catch(broken);
  else keep(message).catch(broken);
});
// The texts are written by a task of the program, whose errors arrive here.
self.addEventListener("unhandledrejection", ({ reason }) => reason instanceof WebAssembly.RuntimeError && broken(reason));
self.addEventListener("error", ({ error }) => error instanceof WebAssembly.RuntimeError && broken(error));
