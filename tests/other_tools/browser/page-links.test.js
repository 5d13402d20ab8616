// Links and the browser's history at their edges: parts that are invalid or not there, the title, and what the page
// shows in place of itself.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { HOOK, Harness, PROMPT, again, finished, link } from "./page-harness.js";

const harness = new Harness();
const open = (...args) => harness.open(...args);

before(() => harness.start());
after(() => harness.close());

/** The parts of the page that are shown in place of each other. */
const fronts = (page) => page.locator("main").evaluateAll((some) => some.filter((one) => one.checkVisibility()).map(({ id }) => id));

test("a link's invalid parts are named and nothing is run", async () => {
  const { page, context, wrong } = await open("#mode=foo&compare=yes&shade=a+b+c", { done: false });
  const asked = [];
  page.on("request", (request) => request.url().includes("/v1/") && asked.push(request.url()));

  await page.waitForSelector("#error:not([hidden])");
  assert.match(await page.textContent("#error"), /^The link contains parts that this page does not understand: foo, yes, a b c$/);
  assert.deepEqual(asked, []);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a token beyond the text and a shading by an absent SAE are said, and the text is there", async () => {
  const { page, context, wrong } = await open(`${link({ prompt: PROMPT, max_tokens: "4", shade: "blocks.9.hook_resid_post:7" })}`);
  assert.match(await page.textContent("#notice"), /^The link shades by feature 7 of blocks\.9\.hook_resid_post\. This server has no SAE with it\.$/);
  assert.equal(await page.inputValue("#shade"), "off");
  await again(page, () => page.evaluate((hash) => { location.hash = hash; }, `${link({ prompt: "The cat", max_tokens: "4" })}&token=500`));
  assert.match(await page.textContent("#notice"), /^The link is to token 500, counted from 0\. The text ends before it\.$/);
  assert.ok(await page.locator("#view .nothing").isVisible());
  await again(page, () => page.click("#run"));
  assert.ok(await page.locator("#notice").isHidden());

  assert.deepEqual(wrong, []);
  await context.close();
});

test("an open token that the next text does not have is closed", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "12" }));
  await page.locator(".pane .t:not(.p)").last().click();

  await page.evaluate(() => { document.getElementById("max-tokens").value = "3"; });
  await again(page, () => page.evaluate(() => document.getElementById("max-tokens").dispatchEvent(new Event("input"))));
  assert.ok(await page.locator("#view .nothing").isVisible());
  assert.doesNotMatch(page.url(), /token=/);
  assert.ok(await page.locator("#notice").isHidden());

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the title names what is open", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "4" }));

  assert.equal(await page.title(), `${PROMPT} · nanoscope`);
  await page.fill("#steer-finder input", "3:1909");
  await page.waitForSelector("#steer-finder [role=option]");
  await again(page, () => page.press("#steer-finder input", "Enter"));
  await page.click("#specs .name");
  await page.waitForFunction(() => /dog.* · nanoscope$/.test(document.title));
  await page.click("#close");
  assert.equal(await page.title(), `${PROMPT} · nanoscope`);
  await page.check("#modes [value=chat]", { force: true });
  assert.equal(await page.title(), "New chat · nanoscope");
  // A link that opens a feature whose name is not known yet.
  const other = await open(`#feature=${HOOK}:1909`);
  await other.page.waitForFunction(() => /dog.* · nanoscope$/.test(document.title));

  assert.deepEqual([...wrong, ...other.wrong], []);
  await context.close();
  await other.context.close();
});

test("the panel's Back and the browser's lead to the same views", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "8" }));
  const shown = (text) => page.waitForFunction((what) => document.querySelector("#view h2")?.textContent.includes(what), text);
  const feature = async (selector) => {
    await page.locator(selector).first().click();
    await page.waitForSelector("#view .facts dd");
    return page.textContent("#view .above");
  };
  const at = (which) => page.waitForFunction((what) => document.querySelector("#view .above")?.textContent === what, which);
  await page.locator(".pane .t:not(.p) >> nth=2").click();
  const token = await page.textContent("#view h2");
  const a = await feature("#view .features button");
  const b = await feature("#view .near button");
  assert.notEqual(a, b);
  const length = await page.evaluate(() => history.length);

  await page.click("#back");
  await at(a);
  assert.equal(await page.evaluate(() => history.length), length, "it is a step back in the history");
  await page.goBack();
  await shown(token);
  await page.goForward();
  await page.goForward();
  await at(b);
  await page.goBack();
  await at(a);
  await page.click("#back");
  await shown(token);
  assert.ok(await page.locator("#back").isHidden());

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the link that skips to the content leaves a shared link alone where a key is asked for", async () => {
  const at = await harness.serve(["--api-key", "sesame"]);
  const fragment = link({ prompt: "The cat", max_tokens: "4" });
  const { page, context } = await open(fragment, { at, done: false });
  await page.waitForSelector("#key:not([hidden])");

  await page.focus("#skip");
  await page.keyboard.press("Enter");
  assert.equal(new URL(page.url()).hash, fragment);
  assert.equal(await page.evaluate(() => document.activeElement.id), "key-text");
  await page.keyboard.type("sesame");
  await again(page, () => page.keyboard.press("Enter"));
  assert.match(await page.textContent(".pane .text"), /The cat/);
  await page.focus("#skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "output");

  await context.close();
});

test("the page, the question for a key and a lost server are shown one at a time", async () => {
  const at = await harness.serve(["--api-key", "sesame"]);
  const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "4" }), { at, done: false });
  const enter = async (key) => {
    await page.fill("#key-text", key);
    await page.keyboard.press("Enter");
  };
  await again(page, () => enter("sesame"));
  assert.deepEqual(await fronts(page), ["main"]);

  // The key changes while the page is open.
  const refuse = (route) => route.fulfill({ status: 401, json: { error: { message: "no" } } });
  await page.route(/\/(v1|api)\//, refuse);
  await page.click("#run");
  await page.waitForSelector("#key:not([hidden])");
  assert.deepEqual(await fronts(page), ["key"]);
  await page.unroute(/\/(v1|api)\//, refuse);
  await again(page, () => enter("sesame"));
  assert.deepEqual(await fronts(page), ["main"]);

  // Lost, and then another key.
  const lose = (route) => route.abort();
  await page.route("**/api/about", lose);
  await page.reload();
  await page.waitForSelector("#lost:not([hidden])");
  assert.deepEqual(await fronts(page), ["lost"]);
  await page.unroute("**/api/about", lose);
  await page.route("**/api/about", refuse);
  await page.click("#lost-again");
  await page.waitForSelector("#key:not([hidden])");
  assert.deepEqual(await fronts(page), ["key"]);

  await context.close();
});

test("another server at the address is begun with anew", async () => {
  const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "4" }));
  await page.route("**/v1/**", (route) => route.abort());
  await page.click("#run");
  await page.waitForSelector("#reconnect:not([hidden])");
  await page.unroute("**/v1/**");
  await page.evaluate(() => { window.same = true; });
  await page.route("**/api/about", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), version: "9.9.9" } });
  });

  await page.click("#reconnect");
  await page.waitForFunction(() => !window.same && document.getElementById("about")?.textContent.includes("9.9.9"));
  await finished(page);

  await context.close();
});
