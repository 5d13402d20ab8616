// Typing into the page's boxes in a browser: text is not lost, not sent twice, and not taken for something else.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { HOOK, Harness, PROMPT, again, finished, link, root, violations } from "./page-harness.js";
import { join } from "node:path";

const harness = new Harness();
const open = (...args) => harness.open(...args);
const DOGS = `${HOOK}:1909:add:0.3:norm`;

before(() => harness.start());
after(() => harness.close());

test("a message is sent once, with Enter and with Ctrl or Cmd and Enter", async () => {
  const { page, context, wrong } = await open(link({ mode: "chat", max_tokens: "8" }), { done: false });
  const sent = [];
  page.on("request", (request) => request.url().endsWith("/v1/chat/completions") && sent.push(request.postDataJSON().messages.length));

  for (const [at, keys] of ["Enter", "Control+Enter", "Meta+Enter"].entries()) {
    await page.fill("#prompt", `Message ${at}.`);
    await again(page, () => page.press("#prompt", keys));
    assert.equal(sent.length, at + 1, keys);
  }
  assert.deepEqual(sent, [1, 3, 5]);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a message that is half written stays", async () => {
  const { page, context, wrong } = await open(link({ mode: "chat", user: "Tell me about a cat.", max_tokens: "8" }));
  const stays = async (act, which) => {
    await act();
    assert.equal(await page.inputValue("#prompt"), "And then it", which);
  };

  await page.fill("#prompt", "And then it");
  await stays(() => again(page, () => page.click("#dice")), "another seed");
  await stays(() => again(page, () => page.locator("#try button").first().click()), "a subject");
  await stays(() => again(page, () => page.goBack()), "back");
  await again(page, () => page.check("#modes [value=story]", { force: true }));
  assert.equal(await page.inputValue("#prompt"), PROMPT);
  await stays(() => page.check("#modes [value=chat]", { force: true }), "the other mode and back");
  await finished(page);
  await again(page, () => page.press("#prompt", "Enter"));
  assert.equal(await page.inputValue("#prompt"), "");
  assert.match(await page.textContent("#thread"), /And then it/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a prompt that the user has typed is used by a subject, and is in the address once it has run", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "8" }, [DOGS]), { permissions: ["clipboard-read", "clipboard-write"] });
  const own = "My grandmother had a";
  const first = page.url();

  await page.fill("#prompt", own);
  await page.click("#share");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), first, "the link is to the text that is shown");
  await page.locator(".pane .t:not(.p) >> nth=1").click();
  assert.ok(!page.url().includes("grandmother"), page.url());
  await page.goBack();
  await page.waitForSelector("#view .nothing");
  assert.equal(await page.inputValue("#prompt"), own);
  await again(page, () => page.locator("#try button >> nth=1").click());
  assert.equal(await page.inputValue("#prompt"), own);
  assert.ok(page.url().includes("prompt=My+grandmother"), page.url());
  assert.match(await page.locator(".pane.steered .text").textContent(), /My grandmother had a/);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("Enter takes the first hit for what is in the search, also before it is there", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "8" }));
  const box = "#steer-finder input";
  const first = async (query) => (await page.evaluate(async (q) => (await fetch(`/api/features?q=${q}&limit=50`)).json(), query)).hits[0].index;
  const [dog, does] = [await first("dog"), await first("do")];
  assert.notEqual(dog, does);

  // Without waiting for any list, and after the list of another query.
  await again(page, () => page.locator(box).pressSequentially("dog\n"));
  assert.match(await page.textContent("#specs .name .hint"), new RegExp(`#${dog}$`));
  await again(page, () => page.click("#specs .remove"));
  await page.fill(box, "do");
  await page.waitForSelector("#steer-finder [role=option]");
  await again(page, async () => {
    await page.keyboard.type("g");
    await page.keyboard.press("Enter");
  });
  assert.deepEqual(await page.locator("#specs .name .hint").allTextContents(), [`layer 3 #${dog}`]);

  // A user who leaves the box and comes back at once goes on.
  await page.focus(box);
  await page.focus("#prompt");
  await page.focus(box);
  await page.fill(box, "cat");
  await page.evaluate(() => new Promise((then) => setTimeout(then, 200)));
  await page.waitForSelector("#steer-finder [role=option]");
  await page.press(box, "Escape");

  // Escape ends a search that has not answered yet.
  let answered;
  const answer = new Promise((resolve) => { answered = resolve; });
  await page.route("**/api/features?q=rain**", async (route) => {
    await answer;
    await route.continue().catch(() => {});
  });
  const asked = page.waitForRequest("**/api/features?q=rain**");
  await page.fill(box, "rain");
  await asked;
  await page.press(box, "Escape");
  answered();
  await page.evaluate(() => new Promise((then) => setTimeout(then, 50)));
  assert.ok(await page.locator("#steer-finder .found").first().isHidden());

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the number of hits is announced, and so is what to do without any", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "4" }));

  await page.fill("#steer-finder input", "3:748");
  await page.waitForFunction(() => document.querySelector("#steer-finder [role=status]").textContent === "1 feature.");
  await page.fill("#steer-finder input", "zzzyx");
  await page.waitForFunction(() => /^No feature matches “zzzyx”\. .* an index such as 1909 or 3:1909\.$/.test(document.querySelector("#steer-finder [role=status]").textContent));
  assert.ok(await page.locator("#steer-finder [role=status]").isVisible());
  assert.ok(await page.locator("#steer-finder [role=listbox]").isHidden());
  assert.deepEqual(await violations(page), []);
  await page.press("#steer-finder input", "Escape");
  assert.equal(await page.textContent("#steer-finder [role=status]"), "");

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the key of the search can be turned off, and is not there without features", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "4" }));
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label"));

  await page.keyboard.press("/");
  assert.equal(await focused(), "Find a feature");
  await page.uncheck("#shortcut");
  await page.keyboard.press("/");
  assert.notEqual(await focused(), "Find a feature");
  await page.reload();
  await finished(page);
  assert.ok(!(await page.isChecked("#shortcut")));
  await page.keyboard.press("/");
  assert.notEqual(await focused(), "Find a feature");

  const at = await harness.serve(["--model", join(root, "models/demo")]);
  const bare = await open(link({ prompt: PROMPT, max_tokens: "4" }), { at });
  assert.ok(await bare.page.locator("#shortcut").isHidden());
  assert.equal(await bare.page.evaluate(() => {
    const event = new KeyboardEvent("keydown", { key: "/", bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
    return event.defaultPrevented;
  }), false);

  assert.deepEqual([...wrong, ...bare.wrong], []);
  await context.close();
  await bare.context.close();
});
