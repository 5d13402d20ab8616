// Tokens per second of the site in Chromium and of the native program on one thread, alternating.
//
// NANOSCOPE_BINARY names a release binary, NANOSCOPE_BROWSER the folder with the program for browsers.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { Harness, PROMPT, binary, finished, link } from "./page-harness.js";

const ROUNDS = 5;
const TOKENS = 200;
const CASES = {
  bare: {},
  tracked: { track: ["all"], top: 32 },
  "tracked and steered": { track: ["all"], top: 32, steer: ["blocks.3.hook_resid_post:1909:add:30%"] },
};

const harness = new Harness();
await harness.start();
const one = (await harness.process([], { RAYON_NUM_THREADS: "1" })).address;
const out = join(harness.folder, "site");
console.log(execFileSync(binary, ["site", "--out", out, "--browser", process.env.NANOSCOPE_BROWSER], { encoding: "utf8" }));
const files = createServer(({ url }, response) => {
  const { pathname } = new URL(url, "http://localhost");
  const path = pathname === "/" ? "/index.html" : pathname;
  const type = { html: "text/html", js: "text/javascript", css: "text/css" }[path.split(".").at(-1)] ?? "application/octet-stream";
  response.writeHead(200, { "content-type": type }).end(readFileSync(join(out, path)));
});
await new Promise((resolve) => files.listen(0, "127.0.0.1", resolve));
const at = `http://127.0.0.1:${files.address().port}/`;
const began = performance.now();
const { page } = await harness.open(link({ prompt: PROMPT, max_tokens: "1" }), { at, done: false });
await page.waitForSelector("#main:not([hidden])");
console.log(`the model can be asked ${((performance.now() - began) / 1000).toFixed(2)} s after the page is opened`);
await finished(page);
await Promise.all([page.waitForEvent("load"), page.click("#rest-load")]);
await finished(page);

/** Runs a request in a page or in node. Returns tokens per second after the first token. */
const run = async ([address, body]) => {
  let rate = 0;
  const { stream } = address ? { stream: null } : await import(new URL("assets/client/api.js", document.baseURI).href);
  const seen = [];
  const mark = (chunk) => chunk.choices?.[0]?.finish_reason || seen.push(performance.now());
  if (stream) {
    for await (const chunk of stream("/v1/completions", body, new AbortController().signal)) mark(chunk);
  } else {
    const response = await fetch(new URL("/v1/completions", address), { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
    let rest = "";
    const decoder = new TextDecoder();
    for await (const piece of response.body) {
      const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data: {")) mark(JSON.parse(line.slice(6)));
    }
  }
  rate = (seen.length - 1) / ((seen.at(-1) - seen[0]) / 1000);
  return { rate, tokens: seen.length };
};

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
for (const [name, nanoscope] of Object.entries(CASES)) {
  const rates = { browser: [], native: [] };
  for (let round = 0; round <= ROUNDS; round += 1) {
    const body = { prompt: PROMPT, stream: true, max_tokens: TOKENS, temperature: 0, nanoscope };
    const [here, there] = [await page.evaluate(run, [null, body]), await run([one, body])];
    if (here.tokens !== there.tokens) throw new Error(`${here.tokens} and ${there.tokens} tokens`);
    // The first round warms up.
    if (round > 0) rates.browser.push(here.rate);
    if (round > 0) rates.native.push(there.rate);
  }
  const [browser, native] = [median(rates.browser), median(rates.native)];
  console.log(`${name}: browser ${browser.toFixed(0)}, native on one thread ${native.toFixed(0)} tokens per second, ratio ${(browser / native).toFixed(2)}`);
}
files.close();
await harness.close();
