// Searches dashboards from disk in Chromium, and follows links between those of several layers.
//
// NANOSCOPE_BINARY names the binary, CHROMIUM the browser, NANOSCOPE_SCREENSHOTS a folder for
// pictures.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Dashboards, visit } from "./dashboard-harness.js";

const dashboards = new Dashboards();
const LATE = "layer 3, 100 % #new";

before(async () => {
  const labels = join(dashboards.folder, "ours.json");
  writeFileSync(labels, JSON.stringify({ 20: "Said, and more words", 31: "said", 40: "unsaid things" }));
  dashboards.make("pages", labels, ["--features", "0..300", "--compact"]);
  dashboards.make(LATE, labels, ["--features", "0..2048", "--compact"], 3);
  await dashboards.start();
});

after(() => dashboards.close());

/** Searches, and returns the rows that are shown. */
async function search(page, text) {
  await page.fill("#search", text);
  await page.waitForFunction((query) => location.hash === (query.trim() === "" ? "" : `#${new URLSearchParams({ q: query.trim() })}`), text);
  return page.locator("#rows .row").evaluateAll((rows) => rows.map((row) => ({ index: Number(row.querySelector(".index").textContent), why: row.querySelector(".why")?.textContent })));
}

test("the ranks of matches are label, fires on, promotes, part; a word is found with any case and spaces", async () => {
  const { page, context, wrong } = await dashboards.open();

  const find = (query) => page.evaluate((text) => {
    const tokens = [" dog", "Dog", " DOGS", "cat", " x", " hot", "\n"];
    const feature = { peaks: [], promoted: [], auto: "promotes \" x\"", examples: 4, label: undefined };
    const features = [
      { ...feature, label: "hotdogs" },
      { ...feature, promoted: [[0, 0.5], [3, 0.2]] },
      { ...feature, promoted: [[1, 1.25], [0, 0.5]] },
      { ...feature, peaks: [[0, 1]] },
      { ...feature, peaks: [[1, 2], [0, 1]], promoted: [[0, 0.3]] },
      { ...feature, label: "a dog, or two" },
      { ...feature, label: "Dog" },
      { ...feature, peaks: [[2, 4]] },
      { ...feature, promoted: [[2, 9]] },
      { ...feature, auto: "fires after \" dogma\"; promotes \" x\"" },
      { ...feature, peaks: [[3, 4], [6, 1]] },
    ];
    const column = (name) => features.map((one) => one[name]);
    const data = { about: { features: [100, 111], hook: "blocks.2.hook_resid_post" }, fires: features.map(() => 9), peaks: column("peaks"), promoted: column("promoted"), auto: column("auto"), examples: column("examples") };
    return new Search(data, { get: (index) => features[index - 100].label }, (id) => tokens[id]).find(text).map(({ at, why }) => [at, why.join("; ")]);
  }, query);
  const dog = [
    [6, "the label has the word “dog”"],
    [5, "the label has the word “dog”"],
    [4, "fires on Dog, ·dog in 3 of 4 top examples; promotes ·dog +0.30"],
    [3, "fires on ·dog in 1 of 4 top examples"],
    [2, "promotes Dog, ·dog +1.25"],
    [1, "promotes ·dog +0.50"],
    [0, "“dog” is in the label"],
    [7, "fires on ·DOGS, which contains “dog”"],
    [8, "promotes ·DOGS, which contains “dog”"],
    [9, "“dog” is in the automatic label"],
  ];

  for (const query of ["dog", " Dog", "DOG ", "·dog"]) assert.deepEqual(await find(query), dog, query);
  // All words have to match, and the weakest decides.
  assert.deepEqual(await find("cat dog"), [[1, "promotes cat +0.20; promotes ·dog +0.50"]]);
  assert.deepEqual((await find("dog two")).map(([at]) => at), [5]);
  assert.deepEqual(await find("↵"), [[10, "fires on ↵ in 1 of 4 top examples"]]);
  // The words of the rule are in every automatic label and say nothing.
  for (const query of ["fires", "promotes", "", " · ", "nothing like this"]) assert.deepEqual(await find(query), [], query);
  for (const query of ["103", "#103", "2:103", "blocks.2.hook_resid_post:103"]) assert.deepEqual(await find(query), [[3, "its index is 103"]], query);
  assert.deepEqual(await find("3:103"), []);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("hits come in order of strength, and each says why", async () => {
  const { page, context, wrong } = await dashboards.open();

  const hits = await search(page, "said");
  await page.screenshot({ path: join(dashboards.pictures, "search.png") });
  const kinds = [/^the label has the word/, /^fires on [^;]* top examples/, /^promotes \S+ \+/, /is in the label$/, /^fires on .* which contains/, /^promotes .* which contains/, /is in the automatic label$/];
  const ranks = hits.map(({ why }) => kinds.findIndex((kind) => kind.test(why)));
  assert.ok(ranks.every((rank, at) => rank >= 0 && (at === 0 || ranks[at - 1] <= rank)), JSON.stringify(hits));
  assert.equal(hits[0].index, 31, "the label that is the word comes first");
  assert.ok(ranks.filter((rank) => rank === 0).length >= 2 && ranks.includes(1) && ranks.includes(2), ranks.join());
  assert.equal(hits.find(({ index }) => index === 40).why, "“said” is in the label");
  assert.deepEqual(await search(page, "SAID"), hits);
  // The reader's own order holds until the search is over.
  assert.equal(await page.inputValue("#sort"), "match");
  await page.selectOption("#sort", "index");
  const indices = (await search(page, "sai")).map(({ index }) => index);
  assert.deepEqual(indices, [...indices].sort((a, b) => a - b));
  await search(page, "");
  assert.equal(await page.locator("#rows .why").count(), 0);
  assert.equal(await page.locator("#sort option:not([hidden])").count(), 4);
  await search(page, "zzqq");
  assert.match(await page.locator("#count").textContent(), /^0 features of 300\. .*try another word/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the address keeps the search", async () => {
  const { page, context, wrong } = await dashboards.open({ fragment: "#q=Said" });

  assert.equal(await page.inputValue("#search"), "Said");
  assert.equal(await page.locator("#rows .index").first().textContent(), "31");
  await page.locator("#rows .row").first().click();
  await page.waitForSelector('#feature h1 .hash:text-is("#31")');
  assert.equal(await page.locator("#feature .steps a").first().textContent(), "Features found by “Said”");
  await page.goBack();
  await page.waitForSelector("#list:not([hidden])");
  assert.equal(await page.inputValue("#search"), "Said");
  await page.click(".home");
  await page.waitForFunction(() => document.getElementById("search").value === "");
  assert.equal(await page.locator("#count").textContent(), "300 features");
  // A promoted token leads to the features with that token.
  await visit(page, 11);
  const token = page.locator("#feature .logits a").first();
  const text = await token.textContent();
  await token.click();
  await page.waitForSelector("#list:not([hidden])");
  assert.equal(await page.inputValue("#search"), text.replaceAll("·", "").toLowerCase());
  assert.ok((await page.locator("#rows .index").allTextContents()).includes("11"));

  assert.deepEqual(wrong, []);
  await context.close();
});

test("dashboards beside each other are linked, with the search and by similar features", async () => {
  const { page, context, wrong } = await dashboards.open();

  const layers = page.locator("#layers");
  assert.equal(await layers.locator("b").textContent(), "layer 2");
  assert.deepEqual(await layers.locator("a").allTextContents(), ["layer 3"]);
  await search(page, "said");
  await layers.locator("a").click();
  await page.waitForFunction(() => document.getElementById("where").textContent.startsWith("blocks.3."));
  assert.equal(await page.inputValue("#search"), "said");
  assert.ok(await page.locator("#rows .why").count() > 0);
  assert.deepEqual(await layers.locator("a").allTextContents(), ["layer 2"]);
  await page.goBack();
  await page.waitForFunction(() => document.getElementById("where").textContent.startsWith("blocks.2."));

  await visit(page, 11);
  const similar = page.locator("#feature .layer-lists > div");
  assert.deepEqual(await similar.locator("h3").allTextContents(), ["layer 0", "layer 1", "layer 3"]);
  assert.deepEqual(await Promise.all([0, 1, 2].map((at) => similar.nth(at).locator("a").count())), [0, 0, 3]);
  assert.match(await page.locator("#feature .wide > .hint").textContent(), /a layer has links if its dashboard/);
  const first = similar.nth(2).locator("a").first();
  const index = await first.locator(".index").textContent();
  const cosine = await first.locator(".value").textContent();
  await first.click();
  await page.waitForSelector(`#feature h1 .hash:text-is("${index}")`);
  assert.match(await page.locator("#where").textContent(), /^blocks\.3\./);
  // The cosine is the same from the other side.
  const back = page.locator('#feature .layer-lists a:has(.index:text-is("#11"))');
  if (await back.count() > 0) assert.equal(await back.locator(".value").first().textContent(), cosine);

  assert.deepEqual(wrong, []);
  await context.close();
});
