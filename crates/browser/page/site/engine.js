// The worker with the model, as the page sees it: requests go in, responses come out.
import { chooseGpu, isGpuChosen } from "./gpu.js";
import { failed, progress, ready } from "./loading.js";

/**
 * A message from the worker.
 * @typedef {{kind: "progress", done: number, total: number}
 *   | {kind: "starting"} | ({kind: "ready"} & Ready) | {kind: "failed", message: string}
 *   | {kind: "head", id: number, status: number, headers: Record<string, string>}
 *   | {kind: "piece", id: number, bytes: Uint8Array<ArrayBuffer>} | {kind: "end", id: number}
 *   | {kind: "broken", message: string}
 *   | {kind: "kept"} | {kind: "refused", message: string}} FromWorker
 */

/**
 * A model that can be asked. `own` is the name of the user's files. Of the site's `saes`, `rest` are not loaded,
 * which are `bytes` to download. The model runs on a GPU if `onGpu`; the site has a program for that if
 * `hasGpuProgram`.
 * @typedef {{own: string | null, saes: number, rest: number, bytes: number, onGpu: boolean, hasGpuProgram: boolean}} Ready
 */

/**
 * A request that the worker has not answered to the end.
 * @typedef {object} Pending
 * @property {(response: Response) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {ReadableStreamDefaultController<Uint8Array> | null} body
 */

/** @type {Worker | null} */
let worker = null;
/** @type {Promise<void> | null} kept once the model can be asked */
let started = null;
/** @type {Map<number, Pending>} */
const pending = new Map();
/** @type {{resolve: () => void, reject: (error: Error) => void} | null} */
let opening = null;
let lastId = 0;

/** Starts the worker and waits until the model is there. */
function start() {
  started ??= new Promise((resolve, reject) => {
    // The worker starts with the SAEs that the page's address names.
    const gpu = isGpuChosen() ? "?gpu" : "";
    worker = new Worker(new URL(`./worker.js${gpu}${location.hash}`, import.meta.url), { type: "module" });
    /** @param {string} message */
    const stop = (message) => {
      const error = new Error(gpu ? `${message} The next attempt is without the GPU.` : message);
      chooseGpu(false);
      failed();
      reject(error);
      end(error);
    };
    worker.addEventListener("error", (event) => stop(event.message || "The browser cannot run the model in a worker."));
    worker.addEventListener("message", ({ data }) => receive(data, () => resolve(undefined), stop));
  });
  return started;
}

/** Ends the worker. The next request starts another one. @param {Error} error for the requests that are open */
function end(error) {
  worker?.terminate();
  worker = null;
  started = null;
  for (const { reject, body } of pending.values()) {
    reject(error);
    body?.error(error);
  }
  pending.clear();
  opening?.reject(error);
  opening = null;
}

/**
 * @param {FromWorker} message
 * @param {() => void} begin
 * @param {(message: string) => void} stop
 */
function receive(message, begin, stop) {
  switch (message.kind) {
    case "progress":
      return progress(message.done, message.total);
    case "starting":
      return progress(1, 1);
    case "ready":
      ready(message);
      return begin();
    case "failed":
    case "broken":
      return stop(message.message);
    case "kept":
      opening?.resolve();
      opening = null;
      return;
    case "refused":
      opening?.reject(new Error(message.message));
      opening = null;
      return;
    default:
      return answer(message);
  }
}

/** @param {Extract<FromWorker, {id: number}>} message */
function answer(message) {
  const { id } = message;
  const request = pending.get(id);
  if (!request) return;
  if (message.kind === "head") {
    const { status, headers } = message;
    const body = new ReadableStream({
      start: (controller) => {
        request.body = controller;
      },
      cancel: () => cancel(id),
    });
    request.resolve(new Response(body, { status, headers }));
  } else if (message.kind === "piece") {
    request.body?.enqueue(message.bytes);
  } else {
    pending.delete(id);
    request.body?.close();
  }
}

/** @param {number} id */
function cancel(id) {
  if (pending.delete(id)) worker?.postMessage({ kind: "cancel", id });
}

/**
 * Sends a request to the model.
 * @param {string} path
 * @param {RequestInit} options
 * @returns {Promise<Response>}
 */
export async function ask(path, { method = "GET", body, signal }) {
  await start();
  signal?.throwIfAborted();
  const id = ++lastId;
  return new Promise((resolve, reject) => {
    pending.set(id, { resolve, reject, body: null });
    signal?.addEventListener("abort", () => {
      const request = pending.get(id);
      cancel(id);
      request?.reject(signal.reason);
      request?.body?.error(signal.reason);
    });
    worker?.postMessage({ kind: "ask", id, method, path, body: body ?? "" });
  });
}

/** @param {import("./worker.js").FromPage} message @returns {Promise<void>} */
async function keepBy(message) {
  await start();
  return new Promise((resolve, reject) => {
    opening?.reject(new Error("Other files were opened meanwhile."));
    opening = { resolve, reject };
    worker?.postMessage(message);
  });
}

/**
 * Opens the model or the SAEs in `files`, and keeps them in the browser for the next start of the page.
 * @param {string} name
 * @param {{path: string, file: File}[]} files
 */
export const keep = (name, files) => keepBy({ kind: "keep", name, files });

/** Downloads the site's SAEs that are not loaded, and keeps them for the next start of the page. */
export const keepRest = () => keepBy({ kind: "rest" });
