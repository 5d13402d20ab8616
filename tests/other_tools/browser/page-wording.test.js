// The page's messages in a browser when something is missing, wrong or at its end.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DOG, HOOK, Harness, PROMPT, again, finished, link, overflow, root, written } from "./page-harness.js";

const harness = new Harness();
const open = (...args) => harness.open(...args);

before(() => harness.start());
after(() => harness.close());

test("the effect of steering stays when the features' data arrive after the run", async () => {
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  const before = (page) => page.route("**/features/1909", async (route) => {
    await released;
    await route.continue();
  });
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "8" }, [DOG]), { before });
  const said = await page.textContent("#specs .applied");
  assert.match(said, /^Moved the activation at \d+ tokens, by/);
  const arrived = page.waitForResponse("**/features/1909");
  release();
  await (await arrived).finished();

  await page.waitForFunction(() => Number(document.querySelector("#specs input[type=range]").max) > 50);
  assert.equal(await page.textContent("#specs .applied"), said);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("what the server notes of a prompt is said beside the text", async () => {
  const { page, context, wrong } = await open(link({ prompt: "Once <|bos|> upon a time", max_tokens: "2" }));

  assert.match(await page.textContent("#notice"), /<\|bos\|>/);
  assert.ok(await page.locator("#notice").isVisible());
  await again(page, () => page.evaluate((hash) => { location.hash = hash; }, link({ prompt: PROMPT, max_tokens: "2" })));
  assert.ok(await page.locator("#notice").isHidden());

  assert.deepEqual(wrong, []);
  await context.close();
});

test("no list of the page has text outside of its entries", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "2" }));

  for (const steer of [[], [DOG]]) {
    if (steer.length > 0) await again(page, () => page.evaluate((hash) => { location.hash = hash; }, link({ prompt: PROMPT, max_tokens: "2" }, steer)));
    const stray = await page.evaluate(() => [...document.querySelectorAll("select, ol, ul, dl, optgroup")].flatMap((list) => [...list.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data.trim()).filter(Boolean)));
    assert.deepEqual(stray, []);
  }

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a value out of range is said in words, by the name it has on the page", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "2" }));
  await page.click(".settings summary");

  for (const [id, value, says] of [
    ["#temperature", "-3", /^Temperature: expected a number from 0 to 100\. 0\.7 is still used\.$/],
    ["#top-p", "2", /^Top-p: expected a number from 0.001 to 1\./],
    ["#top-k", "1.5", /^Top-k: expected a whole number from 0 to/],
    ["#seed", "-1", /^Seed: expected a whole number from 0 to/],
    ["#max-tokens", "100000", /^Tokens: expected a whole number from 1 to 4096; the model’s context ends after 256, the prompt’s included\. 2 is still used\.$/],
    ["#max-tokens", "", /^Tokens: expected/],
  ]) {
    await page.fill(id, value);
    assert.match(await page.textContent("#field-error"), says);
    assert.ok(await page.locator("#field-error").isVisible());
    assert.equal(await page.getAttribute(id, "aria-describedby"), "field-error");
    await page.fill(id, id === "#max-tokens" ? "2" : id === "#temperature" ? "0.7" : "1");
    assert.ok(await page.locator("#field-error").isHidden());
  }
  const dot = [page.evaluate(() => { location.hash = "#prompt=a&max_tokens=100000"; }), page.waitForSelector("#error:not([hidden])")];
  await Promise.all(dot);
  assert.match(await page.textContent("#error"), /^Tokens: expected a whole number from 1 to 4096; the model’s context ends after 256/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("what the server refuses has no path of a JSON document", async () => {
  const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "2" }));

  for (const [hash, says] of [
    [`#prompt=a&steer=${HOOK}:1909:add:3@nowhere`, /^Steering of .*dog.* \(blocks\.3\.hook_resid_post #1909\): .*nowhere/],
    [`#prompt=a&steer=${HOOK}:999999:add:3`, /feature 999999 is out of range/],
    ["#prompt=a&steer=blocks.99.hook_resid_post:1:add:3", /no blocks\.99/],
    [`#prompt=${"word ".repeat(400).trim().replaceAll(" ", "+")}`, /402 tokens/],
  ]) {
    // The page writes its own link when a text ends, perhaps after this one was set.
    await page.waitForFunction(({ to, text }) => {
      if (decodeURI(location.hash) !== decodeURI(to)) location.hash = to;
      return new RegExp(text).test(document.getElementById("error").textContent);
    }, { to: hash, text: says.source }, { polling: 500 });
    const message = await page.textContent("#error");
    assert.doesNotMatch(message, /nanoscope\.|steer\[|max_tokens|_tokens/, message);
  }

  await context.close();
});

test("a strength that leaves the range of float32 is named with its hook point and what to do", async () => {
  const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "4" }, [`${HOOK}:1909:add:1e30`]), { done: false });

  await page.waitForSelector("#error:not([hidden])");
  const said = await page.textContent("#error");
  assert.match(said, new RegExp(`${HOOK.replaceAll(".", "\\.")} leaves the range of float32`));
  assert.match(said, /reduce the steering strength/);
  assert.doesNotMatch(await page.textContent("#stage"), /e\+\d/);

  await context.close();
});

test("a server that ends in the middle of a text is named, and the text stays", async () => {
  const { address: at, end } = await harness.paced();
  const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "2" }), { at });
  await page.evaluate(() => { location.hash = "#prompt=Once+upon+a+time&max_tokens=240&temperature=1"; });
  await page.waitForFunction(() => document.querySelectorAll(".pane .t:not(.p)").length > 6);
  end();

  await page.waitForSelector("#error:not([hidden])");
  assert.match(await page.textContent("#error"), /^The server ended before the text was complete\. What has arrived of it stays\./);
  assert.ok((await page.locator(".pane .t:not(.p)").count()) > 6);
  await page.click("#run");
  await page.waitForFunction(() => document.getElementById("error").textContent.startsWith("The server does not respond"));

  await context.close();
});

test("a chat begins with a word on what to do, and nothing of the story", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }, [DOG]));
  await page.locator(".pane .t >> nth=12").click();
  assert.notEqual(await page.textContent("#progress"), "");

  await page.check("#modes [value=chat]", { force: true });
  assert.match(await page.textContent("#empty"), /No conversation yet/);
  assert.ok(await page.locator("#empty").isVisible());
  for (const id of ["#progress", "#specs .applied"]) assert.equal(await page.textContent(id), "", id);
  for (const id of ["#scale", "#hover", "#fluency"]) assert.ok(await page.locator(id).isHidden(), id);
  assert.ok(await page.locator("#export").isDisabled());
  assert.ok(await page.locator("#view .nothing").isVisible());
  await page.screenshot({ path: join(harness.pictures, "page-chat-begins.png") });
  await page.fill("#prompt", "Tell me about a cat.");
  await again(page, () => page.press("#prompt", "Enter"));
  assert.ok(await page.locator("#empty").isHidden());
  // The token that was open in the story is none of the answer.
  assert.ok(await page.locator("#view .nothing").isVisible());
  assert.doesNotMatch(page.url(), /token=/);
  await page.click("#fresh");
  assert.ok(await page.locator("#empty").isVisible());
  assert.equal(await page.textContent("#progress"), "");

  assert.deepEqual(wrong, []);
  await context.close();
});

test("without SAEs the page says how to train one and offers no steering", async () => {
  const at = await harness.serve(["--model", join(root, "models/demo")]);
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "8" }), { at });

  assert.match(await page.textContent("#no-sae"), /no SAE.*nanoscope train .*--hook blocks\.\d\.hook_resid_post.*nanoscope serve .*--sae/s);
  assert.ok(await page.locator("#no-sae").isVisible());
  for (const id of ["#steer-finder", "#no-steer", "#compare", "#active", "#try"]) assert.ok(await page.locator(id).isHidden(), id);
  assert.match(await page.textContent("#view"), /no SAE/);
  await page.locator(".pane .t >> nth=9").click();
  assert.match(await page.textContent("#view"), /generated · position 9 · token \d+ · probability [\d.]+ %/);
  await page.screenshot({ path: join(harness.pictures, "page-no-sae.png") });

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the prompt is seen as a whole after the window has become narrow", async () => {
  const { page, context, wrong } = await open(link({ prompt: "Once upon a time, there was a little girl who lived in a house beside the sea with her dog, and", max_tokens: "2" }));

  for (const width of [320, 700, 320]) {
    await page.setViewportSize({ width, height: 740 });
    await page.waitForFunction(() => {
      const box = document.getElementById("prompt");
      return box.scrollHeight <= box.clientHeight + 1;
    });
    assert.equal(await overflow(page), 0);
  }
  await page.screenshot({ path: join(harness.pictures, "page-320.png") });

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the limit of the context is shown before it is hit", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "2" }));
  await page.click(".settings summary");

  assert.equal(await page.textContent("#limits"), "The model’s context is 256 tokens, those of the prompt included. The prompt has 9, so 247 can follow.");
  assert.equal(await page.textContent("#max-tokens-range"), "1–4096");
  assert.doesNotMatch(await page.textContent("#settings-now"), /fit/);
  await again(page, () => page.fill("#max-tokens", "300"));
  assert.match(await page.textContent("#settings-now"), /300 tokens, of which 247 fit/);
  assert.match(await page.textContent("#end-0"), /^\d+ tokens · (context full|end of text)$/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a server that is lost is found again with a button, and the run goes on", async () => {
  const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "8" }));
  const text = await written(page);
  const lose = () => page.route(/\/(v1|api)\//, (route) => route.abort());

  await lose();
  await page.click("#run");
  await page.waitForSelector("#reconnect:not([hidden])");
  assert.match(await page.textContent("#error"), /^The server does not respond\./);
  await page.screenshot({ path: join(harness.pictures, "page-lost.png") });
  await Promise.all([page.waitForEvent("requestfailed"), page.click("#reconnect")]);
  assert.ok(await page.locator("#reconnect").isVisible(), "it is still lost");
  assert.equal(await written(page), text);
  await page.unroute(/\/(v1|api)\//);
  await again(page, () => page.click("#reconnect"));
  for (const id of ["#reconnect", "#error"]) assert.ok(await page.locator(id).isHidden(), id);
  assert.equal(await written(page), text);

  // The same where the page itself could not begin.
  await lose();
  await page.reload();
  await page.waitForSelector("#lost:not([hidden])");
  assert.match(await page.textContent("#lost"), /The server does not respond/);
  await page.unroute(/\/(v1|api)\//);
  await page.click("#lost-again");
  await finished(page);
  assert.ok(await page.locator("#lost").isHidden());
  assert.equal(await written(page), text);

  await context.close();
});

test("a wrong key is said beside the field", async () => {
  const at = await harness.serve(["--api-key", "sesame"]);
  const { page, context } = await open("", { at, done: false });
  await page.waitForSelector("#key:not([hidden])");
  assert.equal(await page.getAttribute("#key-text", "aria-invalid"), "false");

  await page.fill("#key-text", "wrong");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#key-error:not([hidden])");
  assert.deepEqual([await page.getAttribute("#key-text", "aria-invalid"), await page.getAttribute("#key-text", "aria-describedby")], ["true", "key-error"]);
  assert.doesNotMatch(await page.textContent("#key-error"), /header|Bearer/i);

  await context.close();
});

test("a comparison without steering says what is missing", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "4" }));

  await again(page, () => page.check("#compare"));
  assert.match(await page.textContent("#notice"), /^Both texts are the same without steering\. Find a feature/);
  assert.equal(await page.locator(".pane").count(), 1);

  assert.deepEqual(wrong, []);
  await context.close();
});
