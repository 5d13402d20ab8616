"use strict";

// The data, in scripts: a page from a disk may load those and nothing else. Each calls `take`.
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

  /// What the file of this name holds.
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
        // It has run by now, and called `take` if it is what it should be.
        script.onload = () => waiting.has(name) && fail("has no data");
        document.head.append(script);
      }));
    }
    return loaded.get(name);
  }

  return { take, load };
})();
