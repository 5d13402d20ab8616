// Names of features, in every view of the page, and the search for them.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { HOOK, Harness, PROMPT, again, finished, link, written } from "./page-harness.js";

const harness = new Harness();
const open = (...args) => harness.open(...args);

before(() => harness.start());
after(() => harness.close());

/** A page whose feature has no label of a person: the index of such a feature at a token. */
async function unlabelled(page) {
  await page.locator(".pane .t:not(.p) >> nth=2").click();
  await page.click("#view .more >> nth=0");
  const row = page.locator("#view .layer >> nth=0").locator("button:has(.auto)").first();
  return { row, index: Number((await row.locator(".index").textContent()).slice(1)), name: await row.locator(".label").textContent() };
}

test("every feature has a name, and an automatic one says that it is", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));
  const views = [];
  const look = async (view) => {
    const names = await page.locator(`${view} .label`).allTextContents();
    assert.ok(names.length > 0, view);
    for (const name of names) assert.match(name, /\S/, view);
    views.push(await page.textContent("main"));
  };

  await page.locator(".pane .t:not(.p) >> nth=2").click();
  for (const more of await page.locator("#view .more").all()) await more.click();
  assert.equal(await page.locator("#view .layer li").count(), 4 * 32);
  await look("#view");
  const soft = await page.evaluate(() => getComputedStyle(document.querySelector(".hint")).color);
  const automatic = page.locator("#view .label:has(.auto)");
  assert.ok((await automatic.count()) > 40);
  assert.equal(await automatic.first().evaluate((name) => getComputedStyle(name).color), soft);
  assert.match(await automatic.first().textContent(), /^auto (fires on|promotes) /);
  await automatic.first().click();
  await page.waitForSelector("#view .facts dd");
  await look("#view");
  assert.match(await page.textContent("#view h2"), /^auto /);
  await page.click("text=Shade by this");
  assert.match(await page.locator("#shade option:checked").textContent(), /(fires on|promotes) .* · layer \d #\d+$/);
  await page.fill("#steer-finder input", "7");
  await page.waitForSelector("#steer-finder [role=option]");
  await look("#steer-finder");
  await page.keyboard.press("Escape");
  await page.click("#active");
  await look("#view");
  for (const view of views) assert.doesNotMatch(view, /no label/i);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a label takes the place of the automatic name, which comes back without it", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));
  const { row, index, name } = await unlabelled(page);
  await row.click();
  await page.waitForSelector("#view .facts dd");

  await page.click("#view .edit summary");
  const give = async (label, says) => {
    await page.fill("#view .edit input", label);
    await page.click("#view .edit form button");
    await page.waitForSelector(`#view .edit >> text=${says}`);
  };
  await give("a label of mine", "Saved.");
  assert.equal(await page.textContent("#view h2"), "a label of mine");
  assert.equal(await page.textContent("#view .other"), name);
  await page.click("#back");
  assert.equal(await page.locator(`#view .layer >> nth=0`).locator("button", { hasText: `#${index}` }).locator(".label").textContent(), "a label of mine");
  await page.evaluate(({ hook, feature }) => { location.hash = `${location.hash.replace(/&(token|feature)=[^&]*/, "")}&feature=${hook}:${feature}`; }, { hook: HOOK, feature: index });
  await page.waitForSelector("#view .facts dd");
  await page.click("#view .edit summary");
  await give("", "Removed.");
  assert.equal(await page.textContent("#view h2"), name);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a card beside the token has its probability, a feature with its value, and the alternatives", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));
  const card = page.locator("#hover");

  await page.hover(".pane .t:not(.p) >> nth=4");
  await card.waitFor();
  assert.match(await card.textContent(), /probability [\d.]+ %/);
  assert.match(await card.textContent(), /Likely here: .* [\d.]+ % · .* [\d.]+ %/);
  assert.match(await card.locator(".which").first().textContent(), /\S.* [\d.]+ layer 3 #\d+$/);
  await page.screenshot({ path: join(harness.pictures, "page-hover.png") });
  const box = await card.boundingBox();
  const token = await page.locator(".pane .t:not(.p) >> nth=4").boundingBox();
  assert.ok(box.y >= token.y + token.height || box.y + box.height <= token.y, "it does not cover the token");
  await page.keyboard.press("Escape");
  assert.ok(await card.isHidden());
  await page.hover(".pane .t.p >> nth=3");
  await card.waitFor();
  assert.match(await card.textContent(), /from the prompt/);
  await page.mouse.move(2, 2);
  await card.waitFor({ state: "hidden" });

  // With the keyboard, and with the feature that shades the text.
  await page.selectOption("#shade", "off");
  await page.evaluate((hash) => { location.hash = hash; }, `${link({ prompt: PROMPT })}&shade=${HOOK}:1909`);
  await page.waitForFunction(() => document.getElementById("shade").value.endsWith(":1909"));
  await finished(page);
  await page.locator(".pane .t[tabindex='0']").focus();
  await page.keyboard.press("ArrowRight");
  await card.waitFor();
  assert.match(await card.textContent(), /dog.*layer 3 #1909/);

  // In the panel, the token that was written is marked among the alternatives.
  await page.locator(".pane .t:not(.p) >> nth=4").click();
  assert.ok(await card.isHidden());
  const alternatives = await page.locator("#view .logits li .value").allTextContents();
  assert.ok(alternatives.length >= 5 && alternatives.filter((text) => text.startsWith("written")).length === 1, alternatives.join());
  const shares = alternatives.slice(0, 5).map((text) => Number(/[\d.]+/.exec(text)[0]));
  assert.deepEqual(shares, shares.toSorted((a, b) => b - a));

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the search says why a feature was found, and turns it up as the server says", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));
  const plain = await written(page);
  const { hits } = await page.evaluate(async () => (await fetch("/api/features?q=dog&limit=50")).json());
  const box = "#steer-finder input";

  await page.fill(box, "dog");
  await page.waitForSelector("#steer-finder [role=option]");
  const found = await page.locator("#steer-finder [role=option]").allTextContents();
  assert.equal(found.length, hits.length);
  for (const [at, { index, why }] of hits.entries()) assert.ok(found[at].includes(`#${index}`) && found[at].endsWith(why), found[at]);
  await page.screenshot({ path: join(harness.pictures, "page-search.png") });
  await again(page, () => page.press(box, "Enter"));
  const [, share] = /:add:([\d.]+)%$/.exec(hits[0].steer);
  assert.equal(await page.inputValue("#specs input[type=number]"), share);
  assert.ok(new URL(page.url()).hash.includes(`${hits[0].index}%3Aadd%3A${Number(share) / 100}%3Anorm`), page.url());
  assert.notEqual(await written(page, ".pane.steered"), plain);
  assert.equal(await written(page, ".pane.unsteered"), plain);
  await page.fill(box, "zzzyx");
  await page.waitForSelector("#steer-finder .none");
  assert.match(await page.textContent("#steer-finder .none"), /No feature matches “zzzyx”\. Try another word/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a server without automatic names, search by token and measured strengths is used plainly", async () => {
  const strip = (value) => {
    if (Array.isArray(value)) return value.length === 4 && value[3] === true ? value.slice(0, 2) : value.map(strip);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).filter(([key]) => !["steering", "topics", "auto", "fluency", "steered_features"].includes(key)).map(([key, one]) => [key, strip(one)]));
  };
  const before = async (page) => {
    await page.route("**/api/features?**", (route) => route.fulfill({ status: 404, json: { error: { message: "unknown path" } } }));
    await page.route(/\/api\/about$|\/features\/\d+$/, async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: strip(await response.json()) });
    });
    await page.route("**/v1/**", async (route) => {
      const response = await route.fetch();
      const text = (await response.text()).split("\n").map((line) => (line.startsWith("data: {") ? `data: ${JSON.stringify(strip(JSON.parse(line.slice(6))))}` : line)).join("\n");
      await route.fulfill({ response, body: text });
    });
  };
  const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "12" }), { before });

  assert.ok(await page.locator("#try").isHidden());
  await page.locator(".pane .t:not(.p) >> nth=2").click();
  assert.match(await page.locator("#view .label:not(:has(.auto))").filter({ hasText: /^feature \d+$/ }).first().textContent(), /^feature \d+$/);
  await page.fill("#steer-finder input", "1:7");
  await page.waitForSelector("#steer-finder [role=option]:has-text('layer 1 #7')");
  await page.fill("#steer-finder input", "dog");
  await page.waitForSelector("#steer-finder [role=option]:has-text('#1909')");
  await again(page, () => page.locator("#steer-finder [role=option]:has-text('#1909')").click());
  assert.equal(await page.inputValue("#specs input[type=number]"), "30");
  assert.ok(await page.locator("#fluency").isHidden());
  await again(page, () => page.fill("#specs input[type=number]", "90"));
  assert.equal(await page.textContent("#specs .note"), "");

  await context.close();
});
