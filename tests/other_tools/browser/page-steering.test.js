// Steering on the page: before and after, the strength, the fluency, and subjects.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DOG, HOOK, Harness, PROMPT, SHADED, again, link, overflow, written } from "./page-harness.js";

const harness = new Harness();
const open = (...args) => harness.open(...args);
const NORM = `${HOOK}:1909:add:0.3:norm`;

before(() => harness.start());
after(() => harness.close());

const about = (page) => page.evaluate(async () => (await fetch("/api/about")).json());

test("the first steering turns the comparison on, and who turns it off is not asked again", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));
  const plain = await written(page);
  const find = async (query) => {
    await page.fill("#steer-finder input", query);
    await page.waitForSelector("#steer-finder [role=option]");
    await again(page, () => page.press("#steer-finder input", "Enter"));
  };

  await find("3:1909");
  assert.ok(await page.isChecked("#compare"));
  assert.equal(await written(page, ".pane.unsteered"), plain);
  assert.notEqual(await written(page, ".pane.steered"), plain);
  assert.ok(page.url().includes("compare=1"));
  await again(page, () => page.uncheck("#compare"));
  assert.equal(await page.locator(".pane").count(), 1);
  await again(page, () => page.click("#specs .remove"));
  await find("3:748");
  assert.ok(!(await page.isChecked("#compare")));
  assert.equal(await page.locator(".pane").count(), 1);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a strength is a share of the norm in percent, and a note beside it says where texts break", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, compare: "1" }, [NORM]));
  const { steering: { breaks } } = (await about(page)).saes.find((sae) => sae.hook === HOOK);
  const [slider, box, note] = ["#specs input[type=range]", "#specs input[type=number]", "#specs .note"];

  assert.equal(await page.inputValue(box), "30");
  assert.equal(await page.textContent("#specs .unit"), "%");
  assert.equal(await page.getAttribute(slider, "min"), "0");
  assert.ok(Number(await page.getAttribute(slider, "max")) > 100 * breaks);
  assert.equal(await page.textContent(note), "");
  await again(page, () => page.fill(slider, String(100 * breaks + 5)));
  assert.equal(await page.textContent(note), `above ${100 * breaks} % most texts break`);
  await page.screenshot({ path: join(harness.pictures, "page-breaks.png") });
  await again(page, () => page.fill(box, "12.5"));
  assert.equal(await page.textContent(note), "");
  assert.ok(page.url().includes("add%3A0.125%3Anorm"), page.url());
  assert.match(await page.textContent("#specs .applied"), /by 12\.5 % on average/);

  // Other operations keep their numbers, and so does a strength that is not a share.
  await again(page, () => page.selectOption("#specs select >> nth=0", "multiply"));
  assert.deepEqual([await page.inputValue(box), await page.textContent("#specs .unit")], ["2", ""]);
  await again(page, () => page.selectOption("#specs select >> nth=0", "orthogonal"));
  assert.equal(await page.textContent("#specs .unit"), "%");
  const raw = await open(link({ prompt: PROMPT, max_tokens: "4" }, [DOG]));
  assert.deepEqual([await raw.page.inputValue(box), await raw.page.textContent("#specs .unit")], ["27", ""]);

  assert.deepEqual([...wrong, ...raw.wrong], []);
  await context.close();
  await raw.context.close();
});

test("the percent sign and a missing hook point are understood in a link", async () => {
  const { page, context, wrong } = await open("#prompt=Once+upon+a+time&seed=3&max_tokens=8&steer=1909:add:30%25&steer=2-resid_post:7:add:5%25");

  assert.deepEqual(await page.locator("#specs .name .hint").allTextContents(), ["layer 3 #1909", "layer 2 #7"]);
  assert.deepEqual(await page.locator("#specs input[type=number]").evaluateAll((boxes) => boxes.map((box) => box.value)), ["30", "5"]);
  assert.match(await page.textContent("#specs .name"), /dog/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("below the sliders is how fluent the text is, with a warning above twice the unsteered text's", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, compare: "1" }, [NORM]));
  const line = () => page.textContent("#fluency");

  assert.match(await line(), /^Fluency [\d.]+× \([\d.]+ → [\d.]+ nats per token\); broken above 2×\.$/);
  assert.ok(!(await page.locator("#fluency").evaluate((one) => one.classList.contains("broken"))));
  await again(page, () => page.fill("#specs input[type=number]", "150"));
  assert.match(await line(), /^Fluency [\d.]+× .*: the text is broken; reduce the strength\.$/);
  assert.ok(await page.locator("#fluency").evaluate((one) => one.classList.contains("broken")));
  // Without the unsteered text beside it there is nothing to compare with.
  await again(page, () => page.uncheck("#compare"));
  assert.match(await line(), /^Fluency: [\d.]+ nats per token to the unsteered model\. The text repeats itself: \d+ % of its sequences of 4 tokens have occurred before\.$/);
  await again(page, () => page.click("#specs .remove"));
  assert.ok(await page.locator("#fluency").isHidden());

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a text that repeats itself is said to, whatever its fluency", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, compare: "1", max_tokens: "96" }, [`${HOOK}:748:add:0.6:norm`]));

  assert.match(await page.textContent("#fluency"), /^Fluency 1\.\d× .* The text repeats itself: \d\d % of its sequences of 4 tokens have occurred before\.$/);
  assert.ok(await page.locator("#fluency").evaluate((line) => line.classList.contains("broken")));
  await again(page, () => page.fill("#specs input[type=number]", "20"));
  assert.doesNotMatch(await page.textContent("#fluency"), /repeats itself/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a steered feature has its value before and after in the card, the panel and the shading", async () => {
  const { page, context, wrong } = await open(`${link({ prompt: PROMPT, compare: "1" }, [NORM])}&shade=${HOOK}:1909`);
  const shaded = (pane) => page.locator(`.pane.${pane} ${SHADED}:not(.p)`).count();

  assert.match(await page.textContent("#shade-hint"), /after steering/);
  assert.equal(await shaded("steered"), 40, "it is on everywhere");
  assert.ok((await shaded("unsteered")) < 40);
  await page.hover(".pane.steered .t:not(.p) >> nth=3");
  await page.locator("#hover").waitFor();
  const [, first, then] = /([\d.]+) → ([\d.]+) layer 3 #1909, after steering/.exec(await page.textContent("#hover .which"));
  assert.ok(Number(then) > Number(first) + 5, `${first} → ${then}`);
  await page.hover(".pane.unsteered .t:not(.p) >> nth=3");
  await page.waitForFunction(() => !document.getElementById("hover").textContent.includes("after steering"));
  await page.locator(".pane.steered .t:not(.p) >> nth=3").click();
  assert.match(await page.locator("#view .features li").first().textContent(), /#1909.*steered: [\d.]+ → [\d.]+/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a subject's button makes the text about it, with before and after", async () => {
  const { page, context, wrong } = await open(link({ prompt: "The cat" }));
  const { topics } = await about(page);
  assert.ok(topics.length >= 1);
  const names = await page.locator("#try button").allTextContents();
  assert.deepEqual(names, [...topics.map(({ name }) => name), "No steering"]);
  assert.equal(await page.locator("#try button").first().getAttribute("aria-label"), `Make it about ${topics[0].name}`);

  for (const [at, { prompt, steer }] of topics.entries()) {
    const [, feature] = /(\d+):add:/.exec(steer);
    await again(page, () => page.locator("#try button").nth(at).click());
    assert.equal(await page.inputValue("#prompt"), prompt ?? PROMPT);
    assert.match(await page.textContent("#specs .name .hint"), new RegExp(`#${feature}$`));
    assert.deepEqual(await page.locator("#try [aria-pressed=true]").allTextContents(), [names[at]]);
    assert.notEqual(await written(page, ".pane.steered"), await written(page, ".pane.unsteered"), names[at]);
  }
  await page.screenshot({ path: join(harness.pictures, "page-topic.png") });
  await again(page, () => page.click("text=No steering"));
  assert.equal(await page.locator("#specs .spec").count(), 0);
  assert.equal(await page.locator("#try [aria-pressed=true]").count(), 0);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("on a phone the slider stays on the screen while the text is read", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, compare: "1", max_tokens: "96" }, [NORM]), { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  const dock = page.locator("#dock");

  assert.ok(await dock.isHidden(), "the controls themselves are seen");
  await page.evaluate(() => document.querySelector(".pane.steered").scrollIntoView());
  await dock.waitFor();
  const place = await page.evaluate(() => scrollY);
  const before = await written(page, ".pane.steered");
  await again(page, () => dock.locator("input[type=range]").fill("10"));
  assert.notEqual(await written(page, ".pane.steered"), before);
  assert.equal(await page.inputValue("#specs input[type=range]"), "10");
  assert.ok(Math.abs((await page.evaluate(() => scrollY)) - place) < 40, "the text stays where it is");
  const box = await dock.boundingBox();
  assert.ok(box.y + box.height <= 844 && box.height < 844 / 4, JSON.stringify(box));
  await page.screenshot({ path: join(harness.pictures, "page-dock.png") });
  assert.equal(await overflow(page), 0);

  assert.deepEqual(wrong, []);
  await context.close();
});

for (const [device, viewport] of [["a phone", { width: 390, height: 844 }], ["a phone on its side", { width: 844, height: 390 }]]) {
  test(`on ${device} the sliders of three interventions cover neither the text's end nor the message box`, async () => {
    const steer = [NORM, `${HOOK}:748:add:0.1:norm`, `${HOOK}:1268:add:0.1:norm`];
    const { page, context, wrong } = await open(link({ mode: "chat", user: "Tell me about a cat.", max_tokens: "90" }, steer), { viewport, hasTouch: true, isMobile: true });

    await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
    await page.locator("#dock").waitFor();
    await page.waitForFunction(() => {
      scrollTo(0, document.documentElement.scrollHeight);
      return document.getElementById("foot").getBoundingClientRect().bottom <= document.getElementById("dock").getBoundingClientRect().top;
    });
    assert.equal(await page.locator("#dock input[type=range]").count(), 3);
    const box = await page.locator("#prompt").boundingBox();
    const dock = await page.locator("#dock").boundingBox();
    assert.ok(box.y + box.height <= dock.y, JSON.stringify([box, dock]));
    assert.ok(dock.height <= viewport.height * 0.4 + 1, JSON.stringify(dock));
    await page.screenshot({ path: join(harness.pictures, `page-dock-${viewport.width}.png`) });
    assert.equal(await overflow(page), 0);

    assert.deepEqual(wrong, []);
    await context.close();
  });
}
