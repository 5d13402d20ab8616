import { EventParser } from "./sse.js";
import { CUT, noResponse, send } from "./transport.js";

const KEY = "nanoscope.key";
let key = read();

function read() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/**
 * Sets the key for all further requests. It is kept until the tab is closed.
 * @param {string} value
 */
export function useKey(value) {
  key = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // Without storage, the key lasts as long as the page is open.
  }
}

/** An error response, or a request without a response. */
export class Refused extends Error {
  /**
   * @param {string} message
   * @param {number} status 0 if there was no response
   * @param {string | null} param
   * @param {string | null} code the server's name for the kind of error
   */
  constructor(message, status, param = null, code = null) {
    super(message);
    this.status = status;
    this.param = param;
    this.code = code;
    /** True if the server is gone. */
    this.lost = false;
  }
}

/** @param {string} message */
const lost = (message) => Object.assign(new Refused(message, 0), { lost: true });

/** True if the user has entered a key. */
export const hasKey = () => key !== "";

/**
 * @param {string} path
 * @param {{method?: string, body?: unknown, signal?: AbortSignal}} options
 * @returns {Promise<Response>}
 */
async function ask(path, { method = "GET", body, signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  // Headers allow no other characters, so no valid key contains them.
  if (/^[\x21-\x7e]+$/.test(key)) headers.authorization = `Bearer ${key}`;
  let response;
  try {
    response = await send(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw lost(noResponse(error));
  }
  if (response.ok) return response;
  throw await refusal(response);
}

/** @param {Response} response */
async function refusal(response) {
  const text = await response.text().catch(() => "");
  /** @type {any} */
  let error;
  try {
    error = JSON.parse(text).error;
  } catch {
    // Not JSON: show the text itself.
  }
  const wait = response.status === 429 ? response.headers.get("retry-after") : null;
  const message = typeof error?.message === "string" ? error.message : text.slice(0, 300) || `${response.status} ${response.statusText}`;
  return new Refused(wait ? `${message} (retry in ${wait} s)` : message, response.status, error?.param ?? null, error?.code ?? null);
}

/**
 * @param {string} path
 * @param {{method?: string, body?: unknown, signal?: AbortSignal}} options
 * @returns {Promise<any>}
 */
export async function json(path, options = {}) {
  return (await ask(path, options)).json();
}

/**
 * Yields the chunks of a streamed answer.
 * @param {string} path
 * @param {unknown} body
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<any, void, void>}
 */
export async function* stream(path, body, signal) {
  const response = await ask(path, { method: "POST", body, signal });
  if (!response.body) throw new Refused("the response has no body", response.status);
  const parser = new EventParser();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        if (signal.aborted) throw error;
        return { done: true, value: undefined };
      });
      if (done || !value) throw lost(CUT);
      for (const data of parser.push(value)) {
        if (data === "[DONE]") return;
        const chunk = JSON.parse(data);
        if (chunk.error) throw new Refused(String(chunk.error.message ?? "the server reported an error"), 200, chunk.error.param ?? null);
        yield chunk;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
