"use strict";

// Loads the data from script files, which are all that a page opened from disk may load. Each script
// calls `nanoscope.take`.
const nanoscope = (() => {
  const waiting = new Map();
  const loaded = new Map();

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  function take(name, text) {
    const promise = waiting.get(name);
    waiting.delete(name);
    if (promise) unpack(text).then(promise.resolve, promise.reject);
  }

  /// Returns a promise of the data in `data/NAME.js`.
  function load(name) {
    if (!loaded.has(name)) {
      loaded.set(name, new Promise((resolve, reject) => {
        waiting.set(name, { resolve, reject });
        const script = document.createElement("script");
        script.src = `data/${name}.js`;
        const fail = (what) => {
          waiting.delete(name);
          loaded.delete(name);
          reject(new Error(`data/${name}.js ${what}`));
        };
        script.onerror = () => fail("is missing");
        // The script has run by now, and has called `take` if it is a data file.
        script.onload = () => waiting.has(name) && fail("has no data");
        document.head.append(script);
      }));
    }
    return loaded.get(name);
  }

  return { take, load };
})();
