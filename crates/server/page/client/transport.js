// The way to the server. A site without a server has another file in this place (crates/browser/page).

/**
 * Sends a request.
 * @param {string} path
 * @param {RequestInit} options
 * @returns {Promise<Response>}
 */
export const send = (path, options) => fetch(path, { ...options, credentials: "omit" });

/** Why there is no response. @param {unknown} _error what `send` threw */
export const noResponse = (_error) => "The server does not respond. Is nanoscope serve still running?";

/** Why a text ends before it is complete. */
export const CUT = "The server ended before the text was complete. What has arrived of it stays. Is nanoscope serve still running?";

/** The end of everything that is kept in the server's memory. */
export const UNTIL = "until the server ends";
