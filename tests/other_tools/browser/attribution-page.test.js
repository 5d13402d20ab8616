// Opens the page of `nanoscope attribute --html` from disk in Chromium.
//
// NANOSCOPE_BINARY names the binary, CHROMIUM the browser, NANOSCOPE_SCREENSHOTS a folder for
// pictures.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { binary, faults, launch, overflow, violations } from "./page-harness.js";

const folder = mkdtempSync(join(tmpdir(), "nanoscope-attribution-"));
const pictures = process.env.NANOSCOPE_SCREENSHOTS ?? folder;
const DOG = "Max was a small dog. The dog loved to chase the";
const HOSTILE = "</script><img src=x onerror=window.hacked=1><b>{{data}}";
let browser;
let graph;

function attribute(text, name, ...more) {
  const args = ["attribute", text, "--html", join(folder, name), ...more];
  return execFileSync(binary, args, { env: { ...process.env, XDG_CACHE_HOME: join(folder, "cache") }, stdio: ["ignore", "pipe", "ignore"], encoding: "utf8" });
}

before(async () => {
  attribute(DOG, "dog.html", "--lens", "--direct", "--faithfulness", "--graph", join(folder, "dog.json"));
  graph = JSON.parse(readFileSync(join(folder, "dog.json"), "utf8"));
  browser = await launch();
});

after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Opens a page, and records its errors and its requests for anything but itself. */
async function open(name = "dog.html", options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const address = pathToFileURL(join(folder, name)).href;
  const wrong = faults(page, (url) => url === address || url === "data:,");
  await page.goto(address);
  await page.waitForSelector("#foot p", { state: "attached" });
  return { page, context, wrong };
}

test("the page has the question, the causes and everything that was asked for", async () => {
  const { page, context, wrong } = await open();

  assert.equal(await page.locator("h1").textContent(), "Why ·dog rather than ·birds?");
  assert.match(await page.locator("#sentence").textContent(), /^·dog has 39\.9 % \(rank 1\), ·birds has 12\.5 % \(rank 2\); the logit difference is \+1\.16\.$/);
  assert.match(await page.locator("#text").textContent(), /Max was a small dog\. The dog loved to chase the·dog$/);
  assert.equal(await page.locator(".causes tbody tr").count(), 12);
  await page.click("#expand");
  assert.equal(await page.locator(".causes tbody tr").count(), 50);
  await page.click("#expand");
  assert.deepEqual(await page.locator("#more h2").allTextContents(), ["Not explained", "Likely next", "Logit lens", "Direct effects", "Faithfulness"]);
  assert.match(await page.locator(".command code").textContent(), /^nanoscope run 'Max was .* --steer blocks\.\d\.hook_resid_post:\d+:ablate@\d+\.\.\d+$/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the picture has the nodes and the edges of the graph's file", async () => {
  const { page, context, wrong } = await open();

  const kinds = { feature: "sparse autoencoder", error: "mlp reconstruction error", token: "embedding", logit: "logit" };
  for (const [kind, type] of Object.entries(kinds)) {
    const wanted = graph.nodes.filter((node) => node.feature_type === type).length;
    assert.ok(wanted > 0, kind);
    assert.equal(await page.locator(`#stage .node.${kind}`).count(), wanted, kind);
  }
  assert.equal(await page.locator("#stage .node").count(), graph.nodes.length);
  assert.equal(await page.locator("#stage .edge").count(), graph.links.length);
  assert.equal(await page.locator("#stage .edge.against").count(), graph.links.filter(({ weight }) => weight < 0).length);
  const places = await page.locator("#stage .node").evaluateAll((nodes) => nodes.map((node) => node.getAttribute("transform")));
  assert.equal(new Set(places).size, places.length, "no two nodes are at one place");

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the slider shows the edges with the most influence, and the nodes between them", async () => {
  const { page, context, wrong } = await open();
  const set = (count) => page.locator("#edges").evaluate((range, to) => {
    range.value = to;
    range.dispatchEvent(new Event("input"));
  }, count);
  const shown = (what) => page.locator(`#stage .${what}:not(.off)`).count();

  const first = await shown("edge");
  assert.ok(first > 20 && first < graph.links.length / 2, String(first));
  await set(1);
  assert.equal(await shown("edge"), 1);
  // Tokens and logits stay.
  const fixed = graph.metadata.prompt_tokens.length + 2;
  assert.ok([fixed + 1, fixed + 2].includes(await shown("node")), `${await shown("node")} with ${fixed}`);
  await set(graph.links.length);
  assert.equal(await shown("edge"), graph.links.length);
  assert.match(await page.locator("#graph-controls output").textContent(), /, 100 % of the influence$/);

  assert.deepEqual(wrong, []);
  await context.close();
});

/** The numbers of edges into and out of a feature in the file. */
function edgesOf(words) {
  const [, layer, feature, position] = /layer (\d+) #(\d+) at \S+ \((\d+)\)\. active/.exec(words);
  const id = `${layer}_${feature}_${position}`;
  const count = (end) => graph.links.filter((link) => link[end] === id).length;
  return { into: count("target"), out: count("source") };
}

test("a click or a key highlights a node's edges and lists them", async () => {
  const { page, context, wrong } = await open();
  const lists = async () => ({ into: await page.locator("#panel ol.into li").count(), out: await page.locator("#panel ol.out li").count() });
  const lit = () => page.locator("#stage .edge.lit").count();

  await page.locator(".causes button.where").first().click();
  const chosen = page.locator('#stage .node[aria-pressed="true"]');
  assert.equal(await chosen.count(), 1);
  const wanted = edgesOf(await chosen.getAttribute("aria-label"));
  assert.ok(wanted.into + wanted.out > 3);
  assert.deepEqual(await lists(), wanted);
  assert.equal(await lit(), wanted.into + wanted.out);
  await page.locator("#graph").screenshot({ path: join(pictures, "attribution-chosen.png") });
  // An entry leads to its node.
  await page.locator("#panel ol.into button").first().click();
  assert.equal(await chosen.count(), 1);
  assert.equal(await page.evaluate(() => document.activeElement.id), "chosen");
  assert.notDeepEqual(edgesOf(await page.locator('#stage .node[aria-pressed="true"]').getAttribute("aria-label")), wanted);

  const target = page.locator("#stage .node.logit.target");
  await target.focus();
  await page.keyboard.press("Escape");
  assert.equal(await chosen.count(), 0);
  await page.keyboard.press("ArrowDown");
  const below = page.locator("#stage .node:focus");
  assert.match(await below.getAttribute("aria-label"), /layer 3/);
  await page.keyboard.press("Enter");
  assert.equal(await chosen.count(), 1);
  assert.ok((await lit()) > 0);
  await page.keyboard.press("Escape");
  await page.evaluate(() => document.activeElement.blur());
  assert.equal(await lit(), 0);

  await target.hover();
  assert.equal((await lists()).into, graph.links.filter((link) => link.target === graph.nodes.find((node) => node.is_target_logit).node_id).length);
  assert.equal(await page.locator("#tip").textContent(), "·dog logit");
  await page.mouse.move(2, 2);
  assert.equal(await lit(), 0);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("hostile text is shown as text and never run", async () => {
  attribute(HOSTILE, "hostile.html", "--lens");
  // No tokenizer or label of the demo is hostile: the same text in every place that may have foreign text.
  const html = readFileSync(join(folder, "hostile.html"), "utf8");
  const [before, rest] = html.split('id="data">');
  const end = rest.indexOf("</script>");
  const hostile = (key, value) => (["text", "label", "command", "model"].includes(key) && value !== null ? `${HOSTILE}\u202e` : value);
  const data = JSON.stringify(JSON.parse(rest.slice(0, end)), hostile).replaceAll("<", "\\u003c");
  writeFileSync(join(folder, "everywhere.html"), `${before}id="data">${data}${rest.slice(end)}`);

  for (const name of ["hostile.html", "everywhere.html"]) {
    const { page, context, wrong } = await open(name);
    assert.ok((await page.locator("#text").textContent()).includes(HOSTILE));
    assert.ok((await page.locator(".command code").textContent()).includes("</script><img"));
    await page.locator("#stage .node.logit.target").click();
    const words = await page.locator("#panel ol.into").textContent();
    if (name === "everywhere.html") assert.ok(words.includes(`${HOSTILE}⟨202E⟩`), words);
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    assert.equal(await page.locator("img, iframe, object, [onerror], #text b").count(), 0);
    assert.equal(await page.locator("script").count(), 2);

    assert.deepEqual(wrong, []);
    await context.close();
  }
});

test("a script that got into the page would not run", async () => {
  const html = readFileSync(join(folder, "dog.html"), "utf8");
  writeFileSync(join(folder, "injected.html"), html.replace("</main>", "<script>window.hacked=1</script><img src=x onerror=window.hacked=1></main>"));
  const { page, context, wrong } = await open("injected.html");

  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.ok(wrong.some((text) => text.includes("Content Security Policy")), wrong.join());
  await context.close();
});

test("a feature has a page without a graph", async () => {
  attribute("The frog could jump very", "frog.html", "--feature", "blocks.3.hook_resid_post:1909@5");
  const { page, context, wrong } = await open("frog.html");

  assert.match(await page.locator("#sentence").textContent(), /^Feature 1909 of layer 3 has at position 5 the pre-activation −?[\d.]+\.$/);
  assert.ok(await page.locator("#graph").isHidden());
  assert.ok((await page.locator(".causes tbody tr").count()) > 3);
  assert.equal(await page.locator(".causes button.where").count(), 0);
  assert.deepEqual(await violations(page), []);

  assert.deepEqual(wrong, []);
  await context.close();
});

for (const [name, options] of Object.entries({ light: {}, dark: { colorScheme: "dark" }, phone: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true } })) {
  test(`the page is accessible and fits (${name})`, async () => {
    const { page, context, wrong } = await open("dog.html", options);

    assert.deepEqual(await violations(page), []);
    await page.screenshot({ path: join(pictures, `attribution-${name}.png`), fullPage: true });
    assert.equal(await overflow(page), 0);
    await page.locator(".causes button.where").first().click();
    assert.deepEqual(await violations(page), []);
    if (name === "phone") {
      const stage = await page.locator("#stage").evaluate(({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth]);
      assert.ok(stage[0] > stage[1], `the graph scrolls in its own box: ${stage}`);
    }

    assert.deepEqual(wrong, []);
    await context.close();
  });
}
