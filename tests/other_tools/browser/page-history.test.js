// The browser's history, links to features and tokens, pins, and what is taken out of the page.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { after, before, test } from "node:test";
import { HOOK, Harness, PROMPT, SHADED, again, downloaded, faults, finished, link, written } from "./page-harness.js";

const harness = new Harness();
const open = (...args) => harness.open(...args);
const DOGS = `${HOOK}:1909:add:0.3:norm`;

before(() => harness.start());
after(() => harness.close());

test("back and forward go through runs, opened tokens and opened features", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "12" }));
  const first = await written(page);
  const shown = async (what) => page.waitForFunction((text) => (document.querySelector("#view h2")?.textContent ?? "").includes(text), what);

  await again(page, () => page.click("#dice"));
  const second = await written(page);
  assert.notEqual(second, first);
  await page.locator(".pane .t.p >> nth=1").click();
  await page.keyboard.press("ArrowRight");
  await shown("·upon");
  await page.locator("#view .features button").first().click();
  await page.waitForSelector("#view .facts dd");
  const feature = await page.textContent("#view h2");

  await page.goBack();
  await shown("·upon");
  await page.goBack();
  await page.waitForSelector("#view .nothing");
  assert.equal(await written(page), second, "it is not generated again");
  await again(page, () => page.goBack());
  assert.equal(await written(page), first);
  await again(page, () => page.goForward());
  assert.equal(await written(page), second);
  await page.goForward();
  await shown("·upon");
  await page.goForward();
  await shown(feature);
  await page.click("#close");
  await page.goBack();
  await shown(feature);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("moving a slider is one step of the history", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "6" }, [DOGS]));
  const length = () => page.evaluate(() => history.length);
  const before = await length();

  for (const value of ["20", "25", "40", "35"]) await again(page, () => page.fill("#specs input[type=range]", value));
  assert.equal(await length(), before + 1);
  await again(page, () => page.goBack());
  assert.equal(await page.inputValue("#specs input[type=range]"), "30");

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a link to a feature and one to a token show them", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, compare: "1" }, [DOGS]), { permissions: ["clipboard-read", "clipboard-write"] });
  const copied = async () => {
    await page.click("#view >> text=/^Copy link/");
    await page.waitForSelector("#view >> text=Copied");
    return (await page.evaluate(() => navigator.clipboard.readText())).slice(harness.address.length);
  };

  await page.locator(".pane.unsteered .t:not(.p) >> nth=5").click();
  const token = await copied();
  assert.match(token, /&token=unsteered%3A\d+$/);
  assert.equal(token, page.url().slice(harness.address.length));
  const head = await page.textContent("#view .head + .hint");
  await page.click("#specs .name");
  await page.waitForSelector("#view .facts dd");
  const feature = await copied();
  assert.equal(feature, `#feature=${HOOK}%3A1909`);

  const other = await open(token);
  await other.page.waitForSelector("#view .head + .hint");
  assert.equal(await other.page.textContent("#view .head + .hint"), head);
  assert.equal(await other.page.locator(".pane.unsteered .t[aria-current]").count(), 1);
  const third = await open(feature);
  await third.page.waitForSelector("#view .facts dd");
  assert.match(await third.page.textContent("#view h2"), /dog/);
  assert.equal(new URL(third.page.url()).hash.match(/feature=/g).length, 1);
  const absent = await open(`#feature=blocks.7.hook_resid_post:5&max_tokens=3`, { done: false });
  await absent.page.waitForSelector("#notice:not([hidden])");
  assert.match(await absent.page.textContent("#notice"), /feature 5 of blocks\.7\.hook_resid_post\. This server has no SAE with it/);
  await absent.context.close();
  await open("#feature=nonsense", { done: false }).then(async (fourth) => {
    await fourth.page.waitForSelector("#error:not([hidden])");
    assert.match(await fourth.page.textContent("#error"), /nonsense/);
    await fourth.context.close();
  });

  assert.deepEqual([...wrong, ...other.wrong, ...third.wrong], []);
  for (const one of [context, other.context, third.context]) await one.close();
});

test("pinned features stay, and each opens again", async () => {
  const { page, context, wrong } = await open(`${link({ prompt: PROMPT, max_tokens: "4" })}&feature=${HOOK}:1909`);
  await page.waitForSelector("#view .facts dd");

  assert.ok(await page.locator("#pinned").isHidden());
  await page.click("#view .pin");
  assert.equal(await page.getAttribute("#view .pin", "aria-pressed"), "true");
  assert.match(await page.textContent("#pins"), /dog/);
  await page.click("#close");
  await page.reload();
  await finished(page);
  await page.waitForFunction(() => document.getElementById("pins").textContent.includes("dog"));
  await page.click("#pins button");
  await page.waitForSelector("#view .facts dd");
  assert.match(await page.textContent("#view h2"), /dog/);
  await page.click("#view .pin");
  assert.ok(await page.locator("#pinned").isHidden());
  await page.reload();
  await finished(page);
  assert.ok(await page.locator("#pinned").isHidden());
  // What another page has left there does no harm.
  await page.evaluate(() => localStorage.setItem("nanoscope.pins", '{"demo": [{"hook": 7}, null, {"hook": "x", "feature": 1}], "__proto__": 1}'));
  await page.reload();
  await finished(page);
  assert.ok(await page.locator("#pinned").isHidden());

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a pin beyond the last place is refused and no other one is lost", async () => {
  const { page, context, wrong } = await open(`${link({ prompt: PROMPT, max_tokens: "2" })}&feature=${HOOK}:1909`, {
    before: (one) => one.addInitScript((hook) => localStorage.setItem("nanoscope.pins", JSON.stringify({ demo: Array.from({ length: 40 }, (_, feature) => ({ hook, feature })) })), HOOK),
  });
  const pinned = () => page.locator("#pins button").count();
  await page.waitForSelector("#view .facts dd");

  assert.equal(await pinned(), 40);
  await page.click("#view .pin");
  assert.equal(await page.textContent("#view .acts [role=status]"), "40 features are pinned. Remove one of them first.");
  assert.deepEqual([await pinned(), await page.getAttribute("#view .pin", "aria-pressed")], [40, "false"]);
  await page.locator("#pins button").first().click();
  await page.click("#view .pin");
  assert.equal(await pinned(), 39);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the tokens of a conversation's earlier answers can still be opened", async () => {
  const { page, context, wrong } = await open(link({ mode: "chat", max_tokens: "16" }), { done: false });
  const say = async (text) => {
    await page.fill("#prompt", text);
    await again(page, () => page.press("#prompt", "Enter"));
  };

  await say("Tell me about a cat.");
  await page.locator(".pane .t:not(.p) >> nth=3").click();
  const [head, layers] = [await page.textContent("#view .head + .hint"), await page.locator("#view .features .label").allTextContents()];
  await page.click("#close");
  await say("And then?");
  await say("Why?");
  assert.equal(await page.locator("#thread .turn.assistant").count(), 2);
  await page.locator("#thread .turn.assistant >> nth=0").locator(".t >> nth=3").click();
  assert.equal(await page.textContent("#view .head + .hint"), head);
  assert.deepEqual(await page.locator("#view .features .label").allTextContents(), layers);
  await page.selectOption("#shade", HOOK);
  assert.ok((await page.locator(`#thread ${SHADED}`).count()) > 10);
  await page.screenshot({ path: join(harness.pictures, "page-chat-earlier.png"), fullPage: true });

  // Also for who opens a link to the conversation.
  const turns = await page.locator("#thread .turn").allTextContents();
  await page.click("#close");
  const other = await open(page.url().slice(harness.address.length));
  await other.page.waitForSelector("#thread .turn.assistant .t");
  assert.deepEqual(await other.page.locator("#thread .turn").allTextContents(), turns);
  await other.page.locator("#thread .turn.assistant >> nth=0").locator(".t >> nth=3").click();
  assert.equal(await other.page.locator("#view .layer").count(), 4);
  assert.ok((await other.page.locator("#view .features .label").count()) === 24);

  assert.deepEqual([...wrong, ...other.wrong], []);
  await other.context.close();
  await context.close();
});

test("the most active features are those of the text, or of what is selected in it", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));

  await page.click("#active");
  assert.equal(await page.textContent("#view h2"), "Most active features of this text");
  const whole = await page.locator("#view .layer >> nth=0").locator(".index").allTextContents();
  assert.equal(whole.length, 6);
  assert.match(await page.locator("#view .after").first().textContent(), /^at \d+ tokens?/);

  // Of one token, they are the features of this token.
  await page.locator(".pane .t:not(.p) >> nth=6").click();
  await page.click("#view .more >> nth=0");
  const own = await page.locator("#view .layer >> nth=0").locator(".index").allTextContents();
  await page.locator(".pane .t[aria-current]").focus();
  await page.keyboard.press("Shift+ArrowRight");
  await page.keyboard.press("Shift+ArrowLeft");
  await page.waitForFunction(() => document.getElementById("active").textContent === "Most active in the selection (1 token)");
  await page.click("#active");
  assert.equal(await page.textContent("#view h2"), "Most active features of the selection");
  const chosen = await page.locator("#view .layer >> nth=0").locator(".index").allTextContents();
  assert.deepEqual(chosen.toSorted(), own.toSorted());
  assert.notDeepEqual(chosen.slice(0, 6), whole);

  // With the mouse.
  const [from, to] = [await page.locator(".pane .t:not(.p) >> nth=2").boundingBox(), await page.locator(".pane .t:not(.p) >> nth=5").boundingBox()];
  await page.mouse.move(from.x + 2, from.y + from.height / 2);
  await page.mouse.down();
  await page.mouse.move(to.x + to.width - 2, to.y + to.height / 2, { steps: 4 });
  await page.mouse.up();
  await page.waitForFunction(() => /selection \([45] tokens\)/.test(document.getElementById("active").textContent));
  await page.click("#active");
  const words = await page.locator(".pane .t:not(.p)").allTextContents();
  assert.ok((await page.textContent("#view .quote")).includes(words[3]), "the selection is quoted");
  await page.screenshot({ path: join(harness.pictures, "page-active.png") });

  // One of them leads to the token at which it is most active.
  const place = page.locator("#view .peak button").first();
  const peak = await place.textContent();
  await place.click();
  assert.equal(await page.textContent("#view h2"), peak);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the most active features of a comparison say whose they are, and follow the slider", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, compare: "1", max_tokens: "12" }, [DOGS]));
  const rows = () => page.locator("#view .layer >> nth=0").locator("li").allTextContents();

  await page.click("#active");
  assert.equal(await page.textContent("#view h2"), "Most active features of the steered text");
  const before = await rows();
  await again(page, () => page.fill("#specs input[type=range]", "60"));
  assert.equal(await page.textContent("#view h2"), "Most active features of the steered text");
  assert.notDeepEqual(await rows(), before);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a run is copied as plain text, which is also there to be read", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, compare: "1" }, [DOGS]), { permissions: ["clipboard-read", "clipboard-write"] });
  const [plain, steered] = [await written(page, ".pane.unsteered"), await written(page, ".pane.steered")].map((text) => text.replace("<|bos|>", ""));

  await page.click("#copy");
  await page.waitForSelector("#copy >> text=Copied");
  const text = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(text, /^Unsteered:\n[^]+\n\nSteered:\n[^]+\n\nSteering:\n- layer 3 #1909 \(.*dog.*\): add 30 % of the norm \[blocks\.3\.hook_resid_post:1909:add:0\.3:norm\]\. Moved the activation at \d+ tokens, by 30 % on average\.\n- Fluency [\d.]+× \([\d.]+ → [\d.]+ nats per token\); broken above 2×\.$/);
  for (const one of [plain, steered]) assert.ok(text.includes(one), one);
  await page.click("#plain summary");
  await page.waitForFunction(() => document.getElementById("plain-text").textContent !== "");
  assert.equal(await page.textContent("#plain-text"), text);
  await again(page, () => page.click("#specs .remove"));
  assert.equal(await page.textContent("#plain-text"), plain, "it is that of the run that is shown");

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a run is saved as one page that needs no server, and this page opens it again", async () => {
  const hostile = "</script><img src=x onerror=alert(1)>";
  const { page, context, wrong } = await open(link({ prompt: `${PROMPT} ${hostile}`, compare: "1", max_tokens: "20" }, [DOGS]));
  const texts = await page.locator(".pane .text").allTextContents();
  const { name, text } = await downloaded(page, "#html");
  assert.equal(name, "nanoscope-story-3.html");
  const file = join(harness.folder, name);
  writeFileSync(file, text);

  const alone = await context.newPage();
  const faulty = faults(alone, (url) => /^(file|data):/.test(url));
  const asked = [];
  alone.on("request", (request) => asked.push(request.url()));
  await alone.goto(pathToFileURL(file).href);
  assert.deepEqual(await alone.locator("section h2").allTextContents(), ["Unsteered", "Steered"]);
  const flat = (some) => some.map((one) => one.replace(/\s+/g, " "));
  assert.deepEqual(flat(await alone.locator(".text").allTextContents()), flat(texts));
  assert.ok((await alone.locator(".t.d").count()) > 0, "the phrases that differ are marked");
  assert.match(await alone.locator(".t:not(.p)").last().getAttribute("title"), /probability [\d.]+ %/);
  await alone.locator(".t:not(.p)").last().click();
  assert.ok((await alone.locator("#panel li").count()) >= 4 * 8);
  assert.match(await alone.textContent("#panel"), /Likely here/);
  for (const item of await alone.locator("#panel li").allTextContents()) assert.match(item, /#\d+\S/);
  const head = await alone.textContent("#panel h2");
  await alone.keyboard.press("Home");
  await alone.keyboard.press("ArrowRight");
  await alone.keyboard.press("Enter");
  assert.notEqual(await alone.textContent("#panel h2"), head);
  await alone.locator("#panel li button").first().click();
  assert.ok((await alone.locator(".t[style*=color-mix]").count()) > 0, "a feature shades the text");
  assert.equal(await alone.locator("img").count(), 0);
  await alone.screenshot({ path: join(harness.pictures, "page-alone.png") });
  assert.deepEqual(asked, [pathToFileURL(file).href]);

  await page.setInputFiles("#file", file);
  await page.waitForSelector("#notice:not([hidden])");
  assert.deepEqual(await page.locator(".pane .text").allTextContents(), texts);

  assert.deepEqual([...wrong, ...faulty], []);
  await context.close();
});
