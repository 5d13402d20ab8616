// The page's notes on a run that was stopped, failed, or was opened from a file, in a browser.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { after, before, test } from "node:test";
import { HOOK, Harness, PROMPT, again, downloaded, finished, link, written } from "./page-harness.js";

const harness = new Harness();
const open = (...args) => harness.open(...args);
const DOGS = `${HOOK}:1909:add:0.3:norm`;

before(() => harness.start());
after(() => harness.close());

/** Opens a run as a file, changed by `change`. */
async function openFile(page, name, text, change = () => {}) {
  const run = JSON.parse(text);
  change(run);
  await page.setInputFiles("#file", { name, mimeType: "application/json", buffer: Buffer.from(JSON.stringify(run)) });
  await page.waitForFunction((file) => document.getElementById("notice").textContent.startsWith(`Opened from ${file}`), name);
}

test("a run that is stopped has no effect and no fluency of the run before it", async () => {
  const { address: at } = await harness.paced();
  const { page, context, wrong } = await open(link({ prompt: PROMPT, compare: "1", max_tokens: "40" }, [DOGS]), { at });
  await page.click("#plain summary");
  const before = await page.textContent("#plain-text");
  assert.match(await page.textContent("#specs .applied"), /by 30 % on average/);
  assert.ok(await page.locator("#fluency").isVisible());

  await page.evaluate(() => { document.getElementById("max-tokens").value = "240"; document.getElementById("max-tokens").dispatchEvent(new Event("input")); });
  await page.fill("#specs input[type=range]", "20");
  await page.waitForFunction(() => document.querySelectorAll(".pane.steered .t:not(.p)").length > 3 && !document.getElementById("stop").hidden && document.getElementById("steering").classList.contains("begun"));
  assert.equal(await page.locator("#fluency").evaluate((line) => getComputedStyle(line).visibility), "hidden");
  await page.click("#stop");
  await page.waitForFunction(() => document.getElementById("status").textContent === "Stopped.");
  assert.equal(await page.textContent("#specs .applied"), "");
  assert.ok(await page.locator("#fluency").isHidden());
  const text = await page.textContent("#plain-text");
  assert.notEqual(text, before);
  assert.ok(text.includes((await written(page, ".pane.steered")).replace("<|bos|>", "")), text);
  assert.match(text, /add 20 % of the norm \[[^\]]+\]$/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a run that is refused leaves the text before it, which is exported as what it is", async () => {
  const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "8" }, [DOGS]));
  const before = (await downloaded(page, "#export")).text;

  await page.route("**/v1/completions", (route) => route.fulfill({ status: 400, json: { error: { message: "no", param: null } } }));
  await page.fill("#specs input[type=range]", "90");
  await page.waitForSelector("#error:not([hidden])");
  assert.equal(await page.textContent("#specs .applied"), "");
  assert.ok(await page.locator("#fluency").isHidden());
  assert.equal((await downloaded(page, "#export")).text, before);

  await context.close();
});

test("the error of a run is not said of the run that has begun since", async () => {
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "8" }));
  await page.route("**/features/1268", async (route) => {
    await released;
    await route.continue();
  });
  const refused = page.waitForResponse((response) => response.url().endsWith("/v1/completions") && response.status() === 400);
  await page.evaluate((hash) => { location.hash = hash; }, link({ prompt: PROMPT, max_tokens: "8" }, [`${HOOK}:1268:add:3@nowhere`]));
  await refused;

  await again(page, () => page.click("#specs .remove"));
  const arrived = page.waitForResponse("**/features/1268");
  release();
  await (await arrived).finished();
  await page.evaluate(() => new Promise((then) => setTimeout(then, 50)));
  assert.ok(await page.locator("#error").isHidden(), await page.textContent("#error"));

  await context.close();
});

test("comparing ends with the steering that turned it on", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "8" }));

  for (const end of ["text=No steering", "#specs .remove"]) {
    await again(page, () => page.locator("#try button").first().click());
    assert.ok(await page.isChecked("#compare"));
    await again(page, () => page.click(end));
    assert.ok(!(await page.isChecked("#compare")), end);
    assert.ok(await page.locator("#notice").isHidden(), await page.textContent("#notice"));
  }

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a run of another model and version is said to be, also when it is saved again", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "8" }, [DOGS]));
  const { text } = await downloaded(page, "#export");
  const theirs = (run) => Object.assign(run, { nanoscope: "0.0.7", model: "somebody-else" });

  await openFile(page, "theirs.json", text, theirs);
  assert.match(await page.textContent("#notice"), /It was made with the model somebody-else; this server has demo/);
  const again = JSON.parse((await downloaded(page, "#export")).text);
  assert.deepEqual(again, theirs(JSON.parse(text)));
  const { text: html } = await downloaded(page, "#html");
  assert.match(html, /<title>A run of somebody-else<\/title>/);
  assert.match(html, /somebody-else · temperature 0\.7 · seed 3 · nanoscope 0\.0\.7/);
  await openFile(page, "version.json", text, (run) => { run.nanoscope = "0.0.7"; });
  assert.match(await page.textContent("#notice"), /It was made with version 0\.0\.7; this is/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the names in an opened run are not labels of this server, and go with it", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "4" }));
  const { text } = await downloaded(page, "#export");
  // A feature without any name here: its data are withheld.
  const { page: other, context: second, wrong: wrongly } = await open("#prompt=The+cat&max_tokens=2", { before: (one) => one.route("**/features/7", (route) => route.fulfill({ json: { hook: HOOK, source: "x", index: 7, label: null, auto: null } })) });

  await openFile(other, "named.json", text, (run) => {
    run.link += `&steer=${HOOK}:7:add:1`;
    run.labels[HOOK] = { ...run.labels[HOOK], 7: "a name from elsewhere" };
    delete run.automatic_names[HOOK][7];
  });
  await other.waitForFunction(() => document.querySelector("#specs .name").textContent.includes("a name from elsewhere"));
  assert.match(await other.textContent("#specs .name .label"), /^file a name/);
  await other.click("#specs .name");
  await other.waitForSelector("#view .place", { state: "attached" });
  await other.click("#view .edit summary");
  assert.equal(await other.inputValue("#view .edit input"), "");
  await again(other, () => other.click("#run"));
  await other.waitForFunction(() => document.querySelector("#specs .name .label").textContent === "feature 7");

  assert.deepEqual([...wrong, ...wrongly], []);
  await context.close();
  await second.close();
});

test("the earlier answers of an opened conversation can be inspected, and its context is its own", async () => {
  const { page, context, wrong } = await open(link({ mode: "chat", max_tokens: "12" }), { done: false });
  assert.doesNotMatch(await page.textContent("#limits"), /so \d+ can follow/);
  for (const message of ["Tell me about a cat.", "And then?"]) {
    await page.fill("#prompt", message);
    await again(page, () => page.press("#prompt", "Enter"));
  }
  const limits = await page.textContent("#limits");
  assert.match(limits, /The conversation has \d\d, so \d+ can follow/);
  const { text } = await downloaded(page, "#export");

  const other = await open(link({ prompt: PROMPT, max_tokens: "4" }));
  await openFile(other.page, "chat.json", text);
  assert.equal(await other.page.textContent("#limits"), limits);
  await other.page.locator("#thread .turn.assistant .t >> nth=2").click();
  assert.equal(await other.page.locator("#view .layer").count(), 4);
  assert.equal(await other.page.locator("#view >> text=Copy link to this token").count(), 0, "no link leads to it");
  await other.page.fill("#prompt", "x");
  assert.doesNotMatch(await other.page.textContent("#limits"), /so \d+ can follow/);
  await other.page.click("#fresh");
  assert.doesNotMatch(await other.page.textContent("#limits"), /so \d+ can follow/);

  assert.deepEqual([...wrong, ...other.wrong], []);
  await context.close();
  await other.context.close();
});

test("a token of an answer stays the one that is shown when the conversation goes on", async () => {
  const { page, context, wrong } = await open(link({ mode: "chat", user: "Tell me about a cat.", max_tokens: "12" }));
  await page.locator(".pane .text .t:not(.p) >> nth=3").click();
  const head = await page.textContent("#view .head + .hint");

  await page.fill("#prompt", "And then?");
  await again(page, () => page.press("#prompt", "Enter"));
  assert.equal(await page.textContent("#view .head + .hint"), head);
  assert.equal(await page.locator("#thread .t[aria-current]").count(), 1);
  assert.doesNotMatch(page.url(), /token=/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the scale of the shades is that of the texts on the page", async () => {
  // An earlier answer in which the feature is far more active than in the story.
  const { page, context, wrong } = await open(link({ mode: "chat", user: "Tell me about a cat.", max_tokens: "12", shade: `${HOOK}:1909` }, [`${HOOK}:1909:add:1:norm`]));
  await page.fill("#prompt", "And then?");
  await again(page, () => page.press("#prompt", "Enter"));
  await again(page, () => page.click("#specs .remove"));
  const high = await page.textContent("#high");
  assert.ok((await page.locator("#thread .t").count()) > 0 && Number(high) > 50, high);
  await again(page, () => page.check("#modes [value=story]", { force: true }));
  const story = await page.textContent("#high");
  await page.reload();
  await finished(page);
  assert.equal(await page.textContent("#high"), story);

  assert.deepEqual(wrong, []);
  await context.close();
});

for (const [kind, fields] of [["a story", { prompt: PROMPT }], ["a chat", { mode: "chat", user: "Tell me about a cat." }]]) {
  test(`the saved page of a comparison in ${kind} marks the words that the page marks`, async () => {
    const { page, context, wrong } = await open(link({ ...fields, compare: "1", max_tokens: "24" }, [DOGS]));
    const marked = (where) => where.locator(".t.d").allTextContents();
    const expected = await page.locator(".pane > .text .t.d").allTextContents();
    const { name, text } = await downloaded(page, "#html");
    writeFileSync(join(harness.folder, name), text);

    await page.goto(pathToFileURL(join(harness.folder, name)).href);
    assert.ok(expected.length > 0);
    assert.deepEqual(await marked(page), expected);
    assert.match(await page.textContent("header"), /Steered: layer 3 #1909 .*Fluency [\d.]+×/s);

    assert.deepEqual(wrong.filter((one) => !one.startsWith("request: file:")), []);
    await context.close();
  });
}

test("the saved page shows line breaks and parts of characters, and leaves the browser's keys alone", async () => {
  const { page, context } = await open(link({ prompt: "Once upon a time, 🐕\n\nThe\u180e cat", max_tokens: "8" }));
  const shown = (where) => where.evaluateAll((spans) => spans.map((span) => span.textContent));
  const expected = await shown(page.locator(".pane .t"));
  const { name, text } = await downloaded(page, "#html");
  writeFileSync(join(harness.folder, name), text);

  await page.goto(pathToFileURL(join(harness.folder, name)).href);
  const texts = await shown(page.locator(".t"));
  assert.deepEqual(texts.map((one) => one.replace(/\n$/, "")), expected);
  assert.ok(texts.includes("▫") && texts.some((one) => one.includes("⟨180E⟩")), texts.join("|"));
  for (const span of await page.locator(".t").all()) assert.ok((await span.getAttribute("aria-label")) || /\S/.test(await span.textContent()));
  await page.locator(".t >> nth=3").click();
  assert.match(await page.textContent("#status"), /^The features of .* are shown\./);
  assert.equal(await page.locator("[aria-live]").count(), 0);
  const moved = await page.locator(".t >> nth=3").evaluate((span) => {
    const event = new KeyboardEvent("keydown", { key: "ArrowLeft", altKey: true, bubbles: true, cancelable: true });
    span.dispatchEvent(event);
    return event.defaultPrevented || document.activeElement !== span;
  });
  assert.equal(moved, false);
  await page.keyboard.press("Enter");
  assert.ok(await page.evaluate(() => document.activeElement.matches("#panel h2")));

  await context.close();
});
