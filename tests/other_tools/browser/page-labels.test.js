// Labels that are given on the page, and runs that are exported and opened, in a browser.
import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DOG, HOOK, Harness, PROMPT, again, downloaded, link, written } from "./page-harness.js";

const harness = new Harness();
const open = (...args) => harness.open(...args);

before(() => harness.start());
after(() => harness.close());

/** Opens the form for the label of the feature that is steered. */
async function edit(page) {
  await page.click("#specs .name");
  await page.waitForSelector("#view .facts dd");
  await page.click("#view .edit summary");
}

async function give(page, label) {
  await page.fill("#view .edit input", label);
  await page.click("#view .edit form button");
}

test("a label is saved to the file that the page names, and is there after a restart", async () => {
  const environment = { XDG_DATA_HOME: join(harness.folder, "kept") };
  const first = await harness.process([], environment);
  const steer = [`${HOOK}:7:add:1`];
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "2" }, steer), { at: first.address });
  await edit(page);
  const place = await page.textContent("#view .place");
  assert.match(place, /^Labels are saved on the server in .*kept.nanoscope.labels/);
  await give(page, "  my own label  ");
  await page.waitForSelector("#view .edit >> text=Saved.");
  assert.equal(await page.textContent("#view h2"), "my own label");
  await page.screenshot({ path: join(harness.pictures, "page-label.png") });

  const files = readdirSync(join(harness.folder, "kept/nanoscope/labels"));
  assert.equal(files.length, 1);
  assert.ok(place.includes(files[0]), place);
  const { name, text } = await downloaded(page, "#view .edit >> text=Download all labels");
  assert.equal(name, `labels-${HOOK}.json`);
  const labels = JSON.parse(text);
  assert.equal(labels[7], "my own label");
  assert.match(labels[1909], /dog/);
  first.server.kill("SIGTERM");

  const at = await harness.serve([], environment);
  const later = await open(link({ prompt: PROMPT, max_tokens: "2" }, steer), { at });
  await later.page.waitForFunction(() => document.querySelector("#specs .name").textContent.includes("my own label"));

  assert.deepEqual([...wrong, ...later.wrong], []);
  await context.close();
  await later.context.close();
});

test("a label that somebody else changes or removes is the server's when the feature is opened again", async () => {
  const at = await harness.serve([], { XDG_DATA_HOME: join(harness.folder, "shared") });
  const set = (label) => fetch(new URL(`/api/saes/3-resid_post/features/11/label`, at), { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify({ label }) });
  assert.equal((await set("first")).status, 200);
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "2" }, [`${HOOK}:11:add:1`]), { at });
  const opened = async () => {
    await page.click("#specs .name");
    await page.waitForSelector("#view .facts dd");
    return { title: await page.textContent("#view h2"), field: await page.inputValue("#view .edit input") };
  };
  assert.deepEqual(await opened(), { title: "first", field: "first" });

  await set("second");
  await page.keyboard.press("Escape");
  assert.deepEqual(await opened(), { title: "second", field: "second" });
  await set("");
  await page.keyboard.press("Escape");
  const { title, field } = await opened();
  assert.equal(field, "");
  assert.notEqual(title, "second");

  assert.deepEqual(wrong, []);
  await context.close();
});

test("where no file can be written the page says so, and the download works", async () => {
  writeFileSync(join(harness.folder, "a-file"), "");
  const at = await harness.serve([], { XDG_DATA_HOME: join(harness.folder, "a-file") });
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "2" }, [`${HOOK}:7:add:1`]), { at });
  await edit(page);

  assert.match(await page.textContent("#view .place"), /^Labels are kept only until the server ends, because no file can be written \(.*a-file.*\)\. Download them/);
  await give(page, "for now");
  await page.waitForSelector("#view .edit >> text=Kept until the server ends.");
  const { text } = await downloaded(page, "#view .edit >> text=Download all labels");
  assert.equal(JSON.parse(text)[7], "for now");

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a label that cannot be read as it is stored is refused in words", async () => {
  const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "2" }, [`${HOOK}:9:add:1`]));
  await edit(page);

  for (const [label, says] of [["a\u202eb", /U\+202E is invisible or changes the direction/], ["a\u200bb", /U\+200B/], ["   ", /no visible character/]]) {
    await give(page, label);
    await page.waitForFunction((text) => new RegExp(text).test(document.querySelector("#view .edit [role=status]").textContent), says.source);
    assert.match(await page.textContent("#view .edit [role=status]"), /^The /);
  }

  await context.close();
});

for (const [kind, fields, steer] of [
  ["a story", { prompt: PROMPT }, [DOG]],
  ["a comparison", { prompt: PROMPT, compare: "1" }, [DOG]],
  ["a chat", { mode: "chat", user: "Tell me about a cat.", max_tokens: "24" }, []],
]) {
  test(`${kind} that was exported is opened as it was, without running it again`, async () => {
    const { page, context, wrong } = await open(link(fields, steer));
    const texts = await page.locator(".pane .text").allTextContents();
    const said = steer.length > 0 ? await page.textContent("#specs .applied") : "";
    const { name, text } = await downloaded(page, "#export");
    const run = JSON.parse(text);
    assert.ok(text.length < 5_000 * run.texts.flatMap((one) => one.tokens).length, `${text.length} bytes`);
    for (const token of run.texts.flatMap((one) => one.tokens)) {
      assert.equal(token.prompt, token.logprob === undefined, JSON.stringify(token));
      assert.ok(token.prompt || token.logprob <= 0);
    }
    if (steer.length > 0) assert.match(run.labels[HOOK][1909], /dog/);
    const file = join(harness.folder, name);
    writeFileSync(file, `\ufeff${text}`);

    const other = await open(link({ prompt: "Something else", max_tokens: "3" }));
    const asked = [];
    other.page.on("request", (request) => asked.push(request.url()));
    await other.page.setInputFiles("#file", file);
    await other.page.waitForSelector("#notice:not([hidden])");
    assert.match(await other.page.textContent("#notice"), /^Opened from /);
    assert.deepEqual(await other.page.locator(".pane .text").allTextContents(), texts);
    assert.equal(new URL(other.page.url()).hash, new URL(page.url()).hash);
    if (steer.length > 0) {
      assert.equal(await other.page.textContent("#specs .applied"), said);
      assert.match(await other.page.textContent("#specs .name"), /dog/);
    }
    await other.page.locator(".pane .text .t:not(.p)").last().click();
    assert.match(await other.page.textContent("#view"), /generated · position \d+ · token \d+ · probability/);
    assert.ok((await other.page.locator("#view .layer").count()) === 4);
    assert.equal((await downloaded(other.page, "#export")).text, text, "it is exported as it was opened");
    assert.deepEqual(asked.filter((url) => url.includes("/v1/")), []);
    await again(other.page, () => other.page.click("#run"));
    assert.deepEqual(await other.page.locator(".pane .text").allTextContents(), texts, "run again, it is the same");

    assert.deepEqual([...wrong, ...other.wrong], []);
    await context.close();
    await other.context.close();
  });
}

test("a run without names and alternatives, as an earlier version exported it, is opened", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, compare: "1", max_tokens: "6" }, [DOG]));
  const run = JSON.parse((await downloaded(page, "#export")).text);
  delete run.automatic_names;
  for (const token of run.texts.flatMap((one) => one.tokens)) for (const field of ["alternatives", "steered_features"]) delete token[field];
  for (const text of run.texts) delete text.fluency;

  await page.setInputFiles("#file", { name: "old.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify(run)) });
  await page.waitForSelector("#notice:not([hidden])");
  assert.match(await page.textContent("#notice"), /^Opened from old\.json/);
  assert.ok(await page.locator("#fluency").isHidden());
  await page.locator(".pane.steered .t:not(.p)").last().click();
  assert.equal(await page.locator("#view .layer").count(), 4);
  assert.doesNotMatch(await page.textContent("#view"), /Likely here/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a file that is no exported run is refused with the reason, and the page stays", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "4" }));
  const before = await written(page);
  const { text } = await downloaded(page, "#export");
  const changed = (change) => {
    const run = JSON.parse(text);
    change(run);
    return JSON.stringify(run);
  };

  for (const [content, says] of [
    ["my thesis", /it is not JSON/],
    ["", /it is not JSON/],
    ["[1, 2]", /not a run that this page has exported/],
    ["null", /not a run/],
    [changed((run) => { run.texts = []; }), /one text or two/],
    [changed((run) => { run.texts[0].tokens[3] = null; }), /token 3 is not complete/],
    [changed((run) => { run.texts[0].tokens[3].features = { [HOOK]: [["x", 1]] }; }), /token 3 has a feature/],
    [changed((run) => { run.texts[0].tokens[12].alternatives = [[7, -1]]; }), /token 12 has an alternative/],
    [changed((run) => { run.texts[0].tokens[3].steered_features = { [HOOK]: [["x", 1]] }; }), /token 3 has a steered feature/],
    [changed((run) => { run.automatic_names = { [HOOK]: { 1: 7 } }; }), /must have texts/],
    [changed((run) => { run.link = "javascript:alert(1)"; }), /`link`/],
    [changed((run) => { run.link = "#steer=nonsense"; }), /nonsense/],
    [changed((run) => { run.labels = { [HOOK]: { 1: 7 } }; }), /`labels`/],
  ]) {
    await page.setInputFiles("#file", { name: "run.json", mimeType: "application/json", buffer: Buffer.from(content) });
    await page.waitForFunction((text) => new RegExp(text).test(document.getElementById("error").textContent), says.source);
    assert.match(await page.textContent("#error"), /^run\.json cannot be opened: /);
    assert.equal(await written(page), before);
  }

  assert.deepEqual(wrong, []);
  await context.close();
});
