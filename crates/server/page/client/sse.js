/**
 * Parses a `text/event-stream` into the data of its events. Lines may end in LF, CR or CRLF. A piece of
 * the stream may end anywhere, even between CR and LF or within a character.
 */
export class EventParser {
  #decoder = new TextDecoder();
  #line = "";
  #data = /** @type {string[]} */ ([]);
  #afterCr = false;

  /**
   * Returns the events that `bytes` completes.
   * @param {Uint8Array} bytes
   * @returns {string[]}
   */
  push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (this.#afterCr && text !== "") {
      if (text[0] === "\n") text = text.slice(1);
      this.#afterCr = false;
    }
    this.#afterCr ||= text.endsWith("\r");
    const lines = text.split(/\r\n|\n|\r/);
    const events = [];
    for (const [at, part] of lines.entries()) {
      this.#line += part;
      if (at === lines.length - 1) break;
      const event = this.#take(this.#line);
      this.#line = "";
      if (event !== null) events.push(event);
    }
    return events;
  }

  /** @param {string} line */
  #take(line) {
    if (line === "") {
      const event = this.#data.length > 0 ? this.#data.join("\n") : null;
      this.#data = [];
      return event;
    }
    if (line === "data") this.#data.push("");
    else if (line.startsWith("data:")) this.#data.push(line.slice(line[5] === " " ? 6 : 5));
    return null;
  }
}
