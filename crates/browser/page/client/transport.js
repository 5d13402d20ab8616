// The way to the model in the page's worker, in the place of the server page's file of the same name.
import { ask } from "../site/engine.js";

/**
 * Sends a request to the worker.
 * @param {string} path
 * @param {RequestInit} options
 * @returns {Promise<Response>}
 */
export const send = (path, options) => ask(path, options);

/** Why there is no response. @param {unknown} error what `send` threw */
export const noResponse = (error) => (error instanceof Error ? error.message : String(error));

/** Why a text ends before it is complete. */
export const CUT = "The model in this page stopped before the text was complete. What has arrived of it stays.";

/** The end of everything that is kept in the worker's memory. */
export const UNTIL = "until you close or reload this page";
