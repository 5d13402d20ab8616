// Uses the site of `nanoscope site`, in which the model runs in the browser, in Chromium.
//
// NANOSCOPE_BROWSER names the folder with the program for browsers; `nanoscope site --help` says how it is built.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { join, normalize, relative } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { HOOK, Harness, PROMPT, SHADED, again, binary, launch, link, overflow, root, violations, written } from "./page-harness.js";

const program = process.env.NANOSCOPE_BROWSER;
const skip = program ? false : "NANOSCOPE_BROWSER does not name the program for browsers";
const skipGpu = skip || (existsSync(join(program, "nanoscope_browser_gpu.js")) ? false : "there is no program for GPUs in NANOSCOPE_BROWSER");
const harness = new Harness();
const TYPES = { html: "text/html", js: "text/javascript", css: "text/css", json: "application/json" };
/** In a subfolder, as on GitHub Pages. */
const BASE = "/somebody/nanoscope/";
/** The bytes of every file that a browser has downloaded. */
const sent = [];
let site;
let files;

before(async () => {
  if (skip) return;
  await harness.start();
  const out = join(harness.folder, "site");
  execFileSync(binary, ["site", "--out", out, "--browser", program]);
  files = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const inside = normalize(pathname.startsWith(BASE) ? pathname.slice(BASE.length) || "index.html" : "..");
    const path = join(out, inside);
    if (inside.startsWith("..") || !existsSync(path) || !statSync(path).isFile()) return response.writeHead(404).end();
    const bytes = readFileSync(path);
    sent.push({ path: inside, bytes: bytes.length });
    response.writeHead(200, { "content-type": TYPES[path.split(".").at(-1)] ?? "application/octet-stream" }).end(bytes);
  });
  await new Promise((resolve) => files.listen(0, "127.0.0.1", resolve));
  site = `http://127.0.0.1:${files.address().port}${BASE}`;
});

after(async () => {
  files?.close();
  await harness.close();
});

/** Opens the site. Requests for anything else fail, and are recorded. */
const open = (fragment = "", options = {}) =>
  harness.open(fragment, {
    at: site,
    ...options,
    before: async (page) => {
      page.setDefaultTimeout(60_000);
      await page.context().route((url) => !url.href.startsWith(site), (route) => route.abort());
      await options.before?.(page);
    },
  });

const title = (page) => page.waitForFunction(() => document.getElementById("status").textContent.startsWith("Done")).then(() => page.textContent("#about"));

/** Loads the SAEs that the site does not start with. */
async function loadRest(page) {
  await Promise.all([page.waitForEvent("load"), page.click("#rest-load")]);
  assert.match(await title(page), /^demo · 4 layers · 4 SAEs/);
}

/** The chunks of a streamed answer, asked for by the page's own client. */
const chunks = (page, path, body) => page.evaluate(async ([path, body]) => {
  const { stream } = await import(new URL("assets/client/api.js", document.baseURI).href);
  const all = [];
  for await (const chunk of stream(path, body, new AbortController().signal)) all.push(chunk);
  return all;
}, [path, body]);

/** The chunks of the same answer by `nanoscope serve`. */
async function native(path, body) {
  const response = await fetch(new URL(path, harness.address), { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
  const text = await response.text();
  return text.split("\n").filter((line) => line.startsWith("data: {")).map((line) => JSON.parse(line.slice(6)));
}

test("the site downloads what it says, from its own folder only, and keeps the model", { skip }, async () => {
  sent.length = 0;
  const { page, context, wrong } = await open();

  assert.ok((await written(page)).startsWith(`<|bos|>${PROMPT}`));
  const manifest = JSON.parse(readFileSync(join(harness.folder, "site/site.json"), "utf8"));
  const [first, ...rest] = manifest.saes;
  const once = (files) => {
    for (const { file, size } of files) assert.deepEqual(sent.filter(({ path }) => path === file), [{ path: file, bytes: size }], file);
  };
  once([manifest.program, ...manifest.model, ...first.files]);
  const names = new Set(sent.map(({ path }) => path));
  const packed = [...names].reduce((sum, path) => sum + gzipSync(readFileSync(join(harness.folder, "site", path)), { level: 9 }).length, 0);
  console.log(`download: ${(packed / 1e6).toFixed(1)} MB compressed, ${names.size} files`);
  assert.ok(packed < 16e6, `${packed} bytes`);

  // The other SAEs come when they are asked for, and nothing else with them.
  sent.length = 0;
  assert.match(await page.textContent("#rest"), /^The SAEs of 1 of 4 layers are loaded. Load all \(7\.\d MB\)$/);
  await loadRest(page);
  assert.ok(await page.locator("#rest").isHidden());
  once(rest.flatMap(({ files }) => files));
  assert.equal(sent.filter(({ path }) => path.startsWith("files/")).length, rest.flatMap(({ files }) => files).length);

  // The second visit downloads none of the large files.
  sent.length = 0;
  await page.reload();
  assert.match(await title(page), /4 SAEs/);
  assert.deepEqual(sent.filter(({ path }) => path.startsWith("files/")), []);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a link with a feature of another layer starts with the SAE of that layer too", { skip }, async () => {
  // As people write it: the percent sign stands for itself.
  const fragment = `${link({ prompt: PROMPT, max_tokens: "4" })}&steer=blocks.1.hook_resid_post:7:add:30%`;
  const { page, context, wrong } = await open(fragment);

  assert.match(await page.textContent("#about"), /^demo · 4 layers · 2 SAEs/);
  assert.match(await page.textContent("#rest"), /^The SAEs of 2 of 4 layers are loaded/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the other SAEs can be asked for again after a failure", { skip }, async () => {
  const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "4" }));
  let isOut = true;
  await page.context().route("**/files/*", (route) => (isOut ? route.abort() : route.continue()));

  await page.click("#rest-load");
  await page.waitForFunction(() => document.getElementById("rest").textContent.includes("cannot be downloaded"));
  isOut = false;
  await loadRest(page);

  await context.close();
});

/**
 * Asserts that a text of `max_tokens`, steered or not, has the tokens and, up to rounding, the features of the native
 * program: those at `hook`, or at all four hook points.
 */
async function sameAsNative(page, max_tokens, sampling, { hook, steer = [] } = {}) {
  const nanoscope = { track: [hook ?? "all"], top: 8, prompt: true, steer };
  const body = { prompt: PROMPT, stream: true, max_tokens, logprobs: 3, ...sampling, nanoscope };

  const [here, there] = [await chunks(page, "/v1/completions", body), await native("/v1/completions", body)];

  const parts = (all) => all.map(({ choices: [choice], nanoscope }) => ({ text: choice?.text, extra: nanoscope ?? choice?.nanoscope, logprob: choice?.logprobs?.token_logprobs?.[0] }));
  const [ours, theirs] = [parts(here), parts(there)];
  assert.equal(ours.map(({ text }) => text).join(""), theirs.map(({ text }) => text).join(""));
  assert.equal(ours.length, theirs.length);
  let compared = 0;
  const close = (a, b, what) => assert.ok(Math.abs(a - b) <= 1e-3 * Math.max(1, Math.abs(b)), `${what}: ${a} and ${b}`);
  const sameFeatures = (a = {}, b = {}, what) => {
    assert.deepEqual(Object.keys(a), Object.keys(b), what);
    for (const [hook, found] of Object.entries(a)) {
      const other = new Map(b[hook].map(([index, value]) => [index, value]));
      assert.equal(found.length, other.size, what);
      for (const [index, value] of found) {
        assert.ok(other.has(index), `${what}: ${hook} #${index} is not among ${[...other.keys()]}`);
        close(value, other.get(index), `${what}: ${hook} #${index}`);
        compared += 1;
      }
    }
  };
  for (const [at, { extra, logprob }] of ours.entries()) {
    assert.equal(extra?.token_id, theirs[at].extra?.token_id, `token ${at}`);
    if (logprob !== undefined) close(logprob, theirs[at].logprob, `the log probability of token ${at}`);
    sameFeatures(extra?.features, theirs[at].extra?.features, `token ${at}`);
    for (const [nth, token] of (extra?.prompt ?? []).entries()) sameFeatures(token.features, theirs[at].extra.prompt[nth].features, `prompt ${nth}`);
  }
  assert.ok(compared > max_tokens * (hook ? 1 : 4) * 6, `${compared} features were compared`);
  const [end, theirEnd] = [ours, theirs].map((all) => all.findLast(({ extra }) => extra?.fluency).extra);
  close(end.fluency.nll, theirEnd.fluency.nll, "the fluency");
  assert.equal(end.applied.length, steer.length);
  for (const [nth, { positions, changed }] of end.applied.entries()) {
    assert.ok(changed > 0, JSON.stringify(end.applied));
    assert.deepEqual({ positions, changed }, { positions: theirEnd.applied[nth].positions, changed: theirEnd.applied[nth].changed });
  }
}

for (const [kind, sampling] of [["greedy", { temperature: 0 }], ["sampled", { temperature: 0.8, top_k: 50, seed: 11 }]]) {
  test(`a ${kind} text has the tokens and the features of the native program`, { skip }, async () => {
    const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "4" }));
    await loadRest(page);
    await sameAsNative(page, 96, sampling);
    await sameAsNative(page, 48, sampling, { steer: ["blocks.3.hook_resid_post:1909:add:30%"] });
    assert.deepEqual(wrong, []);
    await context.close();
  });
}

test("on a GPU the text is the same, with features and steering; the CPU is one click away", { skip: skipGpu, timeout: 600_000 }, async () => {
  // Chromium's WebGPU in software.
  const browser = await launch(["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]);
  const first = link({ prompt: PROMPT, max_tokens: "8", temperature: "0" });
  const { page, context, wrong } = await open(first, { browser, before: (page) => page.setDefaultTimeout(300_000) });
  await loadRest(page);
  sent.length = 0;

  await page.waitForSelector("#processor:not([hidden])");
  assert.equal(await page.textContent("#processor"), "Use the GPU");
  await Promise.all([page.waitForEvent("load"), page.click("#processor")]);
  assert.match(await title(page), /^demo · 4 layers · 4 SAEs/);
  assert.equal(await page.textContent("#processor"), "Use the CPU");
  const { gpu } = JSON.parse(readFileSync(join(harness.folder, "site/site.json"), "utf8"));
  assert.deepEqual(sent.filter(({ path }) => path.startsWith("files/")), [{ path: gpu.file, bytes: gpu.size }]);
  await sameAsNative(page, 24, { temperature: 0 });
  const plain = await written(page);
  await page.fill("#steer-finder input", "dog");
  await page.waitForSelector("#steer-finder [role=option]");
  await again(page, () => page.press("#steer-finder input", "Enter"));
  assert.equal(await written(page, ".pane.unsteered"), plain);
  assert.notEqual(await written(page, ".pane.steered"), plain);

  await Promise.all([page.waitForEvent("load"), page.click("#processor")]);
  assert.match(await title(page), /^demo · 4 layers · 4 SAEs/);
  assert.equal(await page.textContent("#processor"), "Use the GPU");

  assert.deepEqual(wrong, []);
  await context.close();
  await browser.close();
});

test("without a GPU the switch says so, and a model that was to run on one starts on the CPU", { skip }, async () => {
  const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "4" }));
  if (skipGpu) {
    assert.ok(await page.locator("#processor").isHidden());
  } else {
    await page.click("#processor");
    await page.waitForSelector("#processor:disabled");
    assert.equal(await page.textContent("#processor"), "No GPU is available");
  }

  await page.evaluate(() => localStorage.setItem("nanoscope.gpu", "1"));
  await page.reload();
  await page.waitForSelector("#lost:not([hidden])");
  assert.match(await page.textContent("#lost"), /GPU.*The next attempt is without the GPU/s);
  await page.click("#lost button");
  assert.match(await title(page), /^demo · 4 layers/);

  await context.close();
});

test("a word of the story has features, and steering by a search changes the text beside the unsteered one", { skip }, async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));
  await loadRest(page);
  const plain = await written(page);

  await page.locator(".pane .t:not(.p) >> nth=0").click();
  await page.waitForSelector("#view .layer .features .label");
  assert.equal(await page.locator("#view .layer").count(), 4);
  await page.fill("#steer-finder input", "dog");
  await page.waitForSelector("#steer-finder [role=option]");
  await again(page, () => page.press("#steer-finder input", "Enter"));

  assert.ok(await page.isChecked("#compare"));
  assert.equal(await written(page, ".pane.unsteered"), plain);
  const steered = await written(page, ".pane.steered");
  assert.ok(/dog|pup/.test(steered) && !/dog/.test(plain), `${plain}\n${steered}`);
  await page.selectOption("#shade", HOOK);
  assert.ok((await page.locator(`.pane ${SHADED}`).count()) > 20);
  await page.click("#specs .name");
  await page.waitForSelector("#view .logits li");
  assert.ok((await page.locator("#view .logits li").count()) > 5, "what it promotes");

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a token's causes are computed in the browser", { skip }, async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "12" }));
  await loadRest(page);
  const body = { prompt: PROMPT, position: -1, exact: 5, top: 5, alternatives: 3 };
  const ask = (path, body) => page.evaluate(async ([path, body]) => {
    const { json } = await import(new URL("assets/client/api.js", document.baseURI).href);
    return json(path, { method: "POST", body });
  }, [path, body]);
  const tokens = (await chunks(page, "/v1/completions", { prompt: PROMPT, stream: true, max_tokens: 1, nanoscope: { track: ["all"], prompt: true } })).flatMap(({ choices: [choice], nanoscope }) => (nanoscope ?? choice?.nanoscope)?.prompt ?? []).map(({ token_id }) => token_id);
  const question = { tokens, position: tokens.length - 1, exact: body.exact, top: body.top, alternatives: body.alternatives };

  const here = await ask("/api/attribute", question);

  const there = await (await fetch(new URL("/api/attribute", harness.address), { method: "POST", body: JSON.stringify(question), headers: { "content-type": "application/json" } })).json();
  const names = ({ features }) => features.map(({ hook, feature, position }) => `${hook} ${feature} ${position}`);
  assert.equal(names(here).length, 5);
  assert.deepEqual(names(here), names(there));
  assertNear(here, there);

  assert.deepEqual(wrong, []);
  await context.close();
});

/** Asserts that two values of JSON are equal, but for a thousandth of numbers that are not whole. */
function assertNear(found, expected, path = "$") {
  if (typeof expected === "number" && typeof found === "number" && !(Number.isInteger(expected) && Number.isInteger(found))) {
    assert.ok(Math.abs(found - expected) <= 1e-3 * Math.abs(expected) + 1e-4, `${path}: ${found} instead of ${expected}`);
  } else if (expected !== null && typeof expected === "object") {
    assert.deepEqual(Object.keys(found ?? {}), Object.keys(expected), path);
    for (const [key, value] of Object.entries(expected)) assertNear(found[key], value, `${path}.${key}`);
  } else {
    assert.equal(found, expected, path);
  }
}

/** Drops the files of `folder` under `name` onto the page, as a browser does. */
async function drop(page, folder, name) {
  const below = (dir) => readdirSync(dir, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? below(join(dir, entry.name)) : [join(dir, entry.name)]));
  const files = below(folder).map((path) => ({ path: `${name}/${relative(folder, path)}`, bytes: readFileSync(path).toString("base64") }));
  await page.evaluate(async (files) => {
    const entry = ({ path, bytes }) => ({
      isFile: true,
      name: path.split("/").at(-1),
      file: (then) => then(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], path)),
    });
    const tree = (files, depth) => {
      const names = [...new Set(files.map(({ path }) => path.split("/")[depth]))];
      return names.map((name) => {
        const inside = files.filter(({ path }) => path.split("/")[depth] === name);
        const [first] = inside;
        if (inside.length === 1 && first.path.split("/").length === depth + 1) return entry(first);
        let read = false;
        const readEntries = (then) => { then(read ? [] : tree(inside, depth + 1)); read = true; };
        return { isFile: false, name, createReader: () => ({ readEntries }) };
      });
    };
    const items = tree(files, 0).map((one) => ({ webkitGetAsEntry: () => one }));
    const event = new Event("drop", { bubbles: true, cancelable: true });
    Object.defineProperty(event, "dataTransfer", { value: { types: ["Files"], items } });
    dispatchEvent(event);
  }, files);
}

test("a folder of an SAE, a model of another family and nonsense can be dropped; nothing is sent", { skip }, async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "12" }));
  assert.match(await page.textContent("#about"), /^demo · 4 layers · 1 SAE ·/);
  sent.length = 0;

  await drop(page, join(root, "docs"), "docs");
  await page.waitForSelector("#own-status.error");
  const refused = await page.textContent("#own-status");
  assert.match(refused, /^docs cannot be opened: .*no SAE of a known format/);
  assert.ok(!/memory:|undefined|\[object/.test(refused), refused);
  assert.equal(await page.locator("#loading").count(), 0, "the model of the site is still there");

  const reloaded = () => page.waitForEvent("load");
  await Promise.all([reloaded(), drop(page, join(root, "models/demo/saes/layer_1"), "layer_1")]);
  assert.match(await title(page), /^demo with layer_1 · 4 layers · 1 SAE ·/);
  await page.locator(".pane .t:not(.p) >> nth=0").click();
  await page.waitForSelector("#view .layer .features .label");
  assert.deepEqual(await page.locator("#view .layer").evaluateAll((layers) => layers.map((layer) => layer.getAttribute("aria-label"))), ["layer 1"]);
  await sameAsNative(page, 24, { temperature: 0 }, { hook: "blocks.1.hook_resid_post" });

  await Promise.all([reloaded(), drop(page, join(root, "models/stories260K"), "stories260K")]);
  assert.match(await title(page), /^stories260K · 5 layers · 2 SAEs ·/);
  const text = await written(page);
  const native = execFileSync(binary, ["generate", "--model", join(root, "models/stories260K"), "-n", "8", "--temperature", "0", "Once upon a time"], { encoding: "utf8" });
  const body = { prompt: "Once upon a time", stream: true, max_tokens: 8, temperature: 0 };
  const here = (await chunks(page, "/v1/completions", body)).map(({ choices: [choice] }) => choice?.text ?? "").join("");
  assert.ok(here.length > 5 && native.includes(here.trim()), `${here}\n${native}`);
  assert.ok(text.length > 20, text);

  // It stays when the page is loaded again, until the user has enough of it.
  await page.reload();
  assert.match(await title(page), /^stories260K/);
  await Promise.all([reloaded(), page.click("#own-end")]);
  assert.match(await title(page), /^demo · 4 layers · 1 SAE ·/);
  assert.ok(await page.locator("#own-end").isHidden());
  assert.deepEqual(sent.filter(({ path }) => path.startsWith("files/")), []);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("on a phone the page fits, can be used and breaks no rule of accessibility", { skip }, async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }), { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });

  assert.ok((await overflow(page)) <= 0, `${await overflow(page)} pixels too wide`);
  await page.locator(".pane .t:not(.p) >> nth=0").tap();
  await page.waitForSelector("#view .layer .features .label");
  assert.ok((await overflow(page)) <= 0);
  await page.click("#close");
  assert.deepEqual(await violations(page), []);
  await page.screenshot({ path: join(harness.pictures, "site-phone.png") });

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a text stops when it is asked to, and the next one is whole", { skip }, async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "4" }));

  const [stopped, next] = await page.evaluate(async (prompt) => {
    const { stream } = await import(new URL("assets/client/api.js", document.baseURI).href);
    const run = async (max_tokens, stopAfter) => {
      const abort = new AbortController();
      let tokens = 0;
      try {
        for await (const chunk of stream("/v1/completions", { prompt, stream: true, max_tokens, seed: 3 }, abort.signal)) {
          tokens += chunk.choices?.[0]?.text ? 1 : 0;
          if (tokens === stopAfter) abort.abort();
        }
        return { tokens, error: null };
      } catch (error) {
        return { tokens, error: error.name };
      }
    };
    return [await run(200, 5), await run(20, null)];
  }, PROMPT);

  assert.ok(stopped.tokens >= 5 && stopped.tokens < 200 && stopped.error === "AbortError", JSON.stringify(stopped));
  assert.ok(next.tokens >= 15 && next.error === null, JSON.stringify(next));

  assert.deepEqual(wrong, []);
  await context.close();
});

test("while files are on their way the page shows how much has arrived", { skip }, async () => {
  const manifest = JSON.parse(readFileSync(join(harness.folder, "site/site.json"), "utf8"));
  const { file } = manifest.saes[0].files.find(({ path }) => path.endsWith("labels.json"));
  let release;
  const held = new Promise((resolve) => (release = resolve));
  const before = (page) => page.context().route(`**/${file}`, (route) => held.then(() => route.continue()));
  const { page, context } = await open("", { before, done: false });

  await page.waitForFunction(() => document.querySelector("#loading progress")?.value > 0.5);
  assert.ok((await page.evaluate(() => document.querySelector("#loading progress").value)) < 1);
  assert.match(await page.textContent("#loading-how"), /^1\d\.\d of 1\d\.\d MB\./);
  release();
  await title(page);
  assert.equal(await page.locator("#loading").count(), 0);

  await context.close();
});

test("a file of the site that is missing or cut off is named, and the next try works", { skip }, async () => {
  const manifest = JSON.parse(readFileSync(join(harness.folder, "site/site.json"), "utf8"));
  const { file } = manifest.saes[0].files.find(({ path }) => path.endsWith("labels.json"));
  let broken = "missing";
  const before = (page) => page.context().route(`**/${file}`, (route) => {
    if (broken === "missing") return route.fulfill({ status: 404 });
    return broken === "short" ? route.fulfill({ status: 200, body: "x" }) : route.continue();
  });
  const { page, context } = await open("", { before, done: false });

  await page.waitForSelector("#lost-why:not(:empty)");
  assert.equal(await page.textContent("#lost-why"), `The file ${file} of this site cannot be downloaded (404).`);
  broken = "short";
  await page.click("#lost-again");
  await page.waitForFunction(() => document.getElementById("lost-why").textContent.includes("incomplete"));
  broken = "";
  await page.click("#lost-again");
  await page.waitForFunction(() => document.getElementById("status").textContent.startsWith("Done"));
  assert.ok((await written(page)).length > 100);

  await context.close();
});
