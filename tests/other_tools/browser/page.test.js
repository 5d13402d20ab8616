// Uses the page of `nanoscope serve` with the demo in Chromium.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DOG, HOOK, Harness, PROMPT, SHADED, again, downloaded, finished, link, overflow as over, written } from "./page-harness.js";

const KEY = "a key of letters";
const harness = new Harness();
const open = (...args) => harness.open(...args);
let locked;

before(async () => {
  await harness.start();
  locked = await harness.serve(["--api-key", KEY.replaceAll(" ", "-")]);
});

after(() => harness.close());

test("the first visit tells a story, token by token, and says how to shade it", async () => {
  // Looks at each frame, which a test that asks from outside would miss on a busy machine.
  const before = (one) => one.addInitScript(() => {
    window.seen = new Set();
    const look = () => {
      window.seen.add(document.querySelectorAll(".pane .t:not(.p)").length);
      requestAnimationFrame(look);
    };
    look();
  });
  const { address: at } = await harness.paced();
  const { page, context, wrong } = await open("", { at, before });

  const seen = await page.evaluate(() => [...window.seen]);
  assert.ok(seen.length > 3, `it grew through ${seen.join()} tokens`);
  const text = await written(page);
  assert.ok(text.startsWith(`<|bos|>${PROMPT}`) && text.length > 200, text);
  const shaded = page.locator(`.pane ${SHADED}`);
  assert.equal(await shaded.count(), 0);
  assert.ok(await page.locator("#scale").isHidden());
  assert.match(await page.textContent("#shade-hint"), /Click a word to see its features/);
  await page.selectOption("#shade", HOOK);
  assert.ok((await shaded.count()) > 50);
  assert.ok(Number(await page.textContent("#high")) > 10);
  await page.selectOption("#shade", "surprise");
  assert.match(await page.textContent("#shade-hint"), /the less the model expected/);
  assert.equal(await page.locator(`.pane ${SHADED}.p`).count(), 0, "the prompt is given");
  assert.ok((await shaded.count()) > 50);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a token opens its features in every layer, one of the prompt too", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));

  for (const which of [".t.p >> nth=1", ".t:not(.p) >> nth=0"]) {
    await page.locator(`.pane ${which}`).click();
    assert.deepEqual(await page.locator("#view .layer").evaluateAll((layers) => layers.map((layer) => layer.getAttribute("aria-label"))), ["layer 3", "layer 2", "layer 1", "layer 0"]);
    const values = (await page.locator("#view .layer").first().locator(".value").allTextContents()).map(Number);
    assert.equal(values.length, 6);
    assert.ok(values.every((value, at) => value > 0 && (at === 0 || value <= values[at - 1])), values.join());
  }
  assert.equal(await page.locator("#view h2").textContent(), "·little");
  assert.match(await page.locator("#view .features .label").first().textContent(), /little/);
  await page.click("#view .more >> nth=0");
  assert.equal(await page.locator("#view .layer").first().locator("li").count(), 32);

  // One of its features leads to steering, and back.
  await page.locator("#view .features button").first().click();
  await page.waitForSelector("#view .facts dd");
  assert.match(await page.textContent("#view h2"), /little/);
  assert.ok((await page.locator("#view .logits li").count()) > 0, "what it promotes");
  await page.click("text=Shade by this");
  const shaded = await page.locator(`.pane ${SHADED}`).allTextContents();
  assert.ok(shaded.includes("little") && shaded.length < 20, shaded.join());
  await again(page, () => page.click("text=Steer this"));
  assert.equal(await page.locator("#specs .spec").count(), 1);
  await page.click("#back");
  assert.equal(await page.locator("#view h2").textContent(), "·little");

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a slider changes the text and back", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));
  const plain = await written(page);
  const dogs = (text) => text.match(/dog/g)?.length ?? 0;

  await again(page, () => page.evaluate((hash) => { location.hash = hash; }, link({ prompt: PROMPT }, [DOG])));
  const steered = await written(page);
  assert.ok(dogs(steered) >= 2 && dogs(plain) === 0, `${plain}\n${steered}`);
  assert.match(await page.textContent("#specs .applied"), /^Moved the activation at \d+ tokens, by [23]\d/);
  const slider = page.locator("#specs input[type=range]");
  await again(page, () => slider.fill("0"));
  assert.equal(await written(page), plain);
  assert.equal(await page.inputValue("#specs input[type=number]"), "0");
  await again(page, () => page.fill("#specs input[type=number]", "27"));
  assert.equal(await written(page), steered);
  await again(page, () => page.selectOption("#specs select >> nth=1", "last"));
  assert.match(await page.textContent("#specs .applied"), /at 1 token,/);
  await again(page, () => page.selectOption("#specs select >> nth=0", "ablate"));
  assert.ok(await slider.isDisabled());
  await again(page, () => page.click("#specs .remove"));
  assert.equal(await written(page), plain);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a feature is found by a word and by a number", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));
  const box = "#steer-finder input";

  await page.fill(box, "paint");
  await page.waitForSelector("#steer-finder [role=option]");
  assert.match((await page.locator("#steer-finder [role=option]").allTextContents()).join("\n"), /layer 3 #1268.*paint/);
  await page.fill(box, "3:748");
  await page.waitForSelector("#steer-finder [role=option]:has-text('#748')");
  assert.equal(await page.locator("#steer-finder [role=option]").count(), 1);
  await again(page, () => page.press(box, "Enter"));
  assert.match(await page.textContent("#specs .name"), /bird.*layer 3 #748/);
  await page.fill(box, "zzzz");
  await page.waitForSelector("#steer-finder .none");

  assert.deepEqual(wrong, []);
  await context.close();
});

test("compare shows both, marks the phrases that differ, and the features of either", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, compare: "1", shade: `${HOOK}:1909` }, [DOG]));

  const texts = {};
  for (const pane of ["steered", "unsteered"]) {
    const tokens = await page.locator(`.pane.${pane} .t`).evaluateAll((spans) => spans.map((span) => ({ text: span.textContent, marked: span.classList.contains("d"), line: getComputedStyle(span).textDecorationLine })));
    assert.ok(tokens.every((token) => token.line === (token.marked ? "underline" : "none")), pane);
    texts[pane] = { tokens, first: tokens.findIndex((token) => token.marked) };
  }
  const { first } = texts.steered;
  assert.ok(first > 8 && first === texts.unsteered.first, `the prompt is the same: ${first}`);
  assert.notEqual(texts.steered.tokens[first].text, texts.unsteered.tokens[first].text);
  const same = (pane) => texts[pane].tokens.filter((token) => !token.marked).map((token) => token.text);
  assert.deepEqual(same("steered"), same("unsteered"), "what is not marked is in both");
  assert.match(await page.textContent("#where-0"), /^\d+ words? differs?, in \d+ phrases?$/);
  await page.locator(".pane.steered .t").nth(first).click();
  assert.match(await page.textContent("#view .beside"), /Unsteered has here/);
  assert.ok((await page.locator("#view .bar + .bar .fill.cool").count()) >= 6);
  await page.click("#view .beside button");
  assert.match(await page.textContent("#view .beside"), /Steered has here/);
  await page.screenshot({ path: join(harness.pictures, "page-compare.png") });

  // The other pane shows the text without steering.
  const beside = await written(page, ".pane.unsteered");
  await again(page, () => page.uncheck("#compare"));
  await again(page, () => page.click("#specs .remove"));
  assert.equal(await written(page), beside);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a link that is shared gives the same text to another", async () => {
  const { page, context, wrong } = await open("", { permissions: ["clipboard-read", "clipboard-write"] });

  await again(page, () => page.evaluate((hash) => { location.hash = hash; }, link({ prompt: PROMPT }, [`${HOOK}:748:add:25`])));
  // With some seeds the story is about no bird.
  await page.evaluate(() => { Math.random = () => 0.25; });
  await again(page, () => page.click("#dice"));
  const text = await written(page);
  await page.click("#share");
  const shared = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(shared, page.url());
  const other = await open(shared.slice(harness.address.length));
  assert.equal(await written(other.page), text);
  assert.equal(await other.page.locator("#specs .spec").count(), 1);
  assert.match(text, /bird/);

  assert.deepEqual([...wrong, ...other.wrong], []);
  await context.close();
  await other.context.close();
});

test("a run is exported with what was asked and every token's features", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }, [DOG]));

  const { name, text } = await downloaded(page, "#export");
  const run = JSON.parse(text);
  assert.equal(name, "nanoscope-story-3.json");
  assert.deepEqual(run.request.body.nanoscope.steer, [DOG]);
  assert.equal(run.texts[0].tokens.filter((token) => !token.prompt).length, 40);
  assert.equal(`<|bos|>${PROMPT}${run.texts[0].text}`, await written(page));
  assert.ok(run.texts[0].tokens.every((token) => token.features[HOOK].length === 32));
  assert.equal(run.texts[0].applied[0].positions, 48);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a conversation goes on from what was answered", async () => {
  const { page, context, wrong } = await open(link({ mode: "chat", max_tokens: "24" }), { done: false });

  await page.fill("#prompt", "Tell me about a cat.");
  await again(page, () => page.press("#prompt", "Enter"));
  const answer = await written(page);
  assert.ok(answer.length > 10 && !answer.includes("<|"), answer);
  assert.deepEqual(await page.locator("#thread .turn").allTextContents(), ["You: Tell me about a cat."]);
  await page.click(".read summary");
  const read = await page.locator(".read .t").allTextContents();
  assert.deepEqual([read[0], read.at(-1)], ["<|bos|>", "<|assistant_start|>"]);
  await page.fill("#prompt", "And then?");
  await again(page, () => page.click("#run"));
  const turns = await page.locator("#thread .turn").allTextContents();
  assert.equal(turns.length, 3);
  assert.equal(turns[1].replace("Model: ", ""), answer);
  const second = await written(page);
  const other = await open(page.url().slice(harness.address.length));
  assert.equal(await written(other.page), second);

  assert.deepEqual([...wrong, ...other.wrong], []);
  await context.close();
  await other.context.close();
});

test("what is hostile stays text", async () => {
  const bad = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=2</script>\u202e";
  const { page, context, wrong } = await open(link({ prompt: bad, max_tokens: "4" }, [`${HOOK}:7:add:1`]));

  await page.click("#specs .name");
  await page.click("text=Edit the label");
  await page.fill("#view .edit input", bad.replace("\u202e", ""));
  await page.click("#view .edit form button");
  await page.waitForSelector("#view .edit >> text=Saved.");
  assert.match(await page.textContent("#view h2"), /^<img src=x .*<\/script>$/);
  assert.match(await page.textContent("#specs .name"), /<img src=x/);
  const word = await page.locator(".pane .t.p").allTextContents();
  assert.match(word.join(""), /<img.*⟨202E⟩/);
  await page.fill("#steer-finder input", "<img");
  await page.waitForSelector("#steer-finder [role=option]:has-text('onerror')");
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator("main img, main script, [onerror]").count(), 0);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("what the server refuses is said in place, and the page goes on", async () => {
  const { page, context } = await open(link({ prompt: PROMPT }));

  await page.evaluate((hook) => { location.hash = `#prompt=a&steer=${hook}:999999:add:3`; }, HOOK);
  await page.waitForSelector("#error:not([hidden])");
  assert.match(await page.textContent("#error"), /999999/);
  await again(page, () => page.click("#specs .remove"));
  assert.ok(await page.locator("#error").isHidden());
  await page.evaluate(() => { location.hash = "#steer=nonsense"; });
  await page.waitForSelector("#error:not([hidden])");
  assert.match(await page.textContent("#error"), /nonsense/);

  await context.close();
});

test("a server with a key asks for it, and keeps it to the tab", async () => {
  const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "5" }), { at: locked, done: false });

  await page.waitForSelector("#key:not([hidden])");
  await page.fill("#key-text", "wrong");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#key-error:not([hidden])");
  assert.match(await page.textContent("#key-error"), /does not accept this key/);
  await page.fill("#key-text", KEY.replaceAll(" ", "-"));
  await again(page, () => page.keyboard.press("Enter"));
  assert.ok(await page.locator("#key").isHidden());
  await page.reload();
  await finished(page);
  assert.equal(await page.evaluate(() => Object.keys(localStorage).length), 0);

  await context.close();
});

test("all of it is reached with the keyboard", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));
  const focused = () => page.evaluate(() => document.activeElement.textContent);

  await page.focus("#prompt");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("The cat");
  await again(page, () => page.keyboard.press("Control+Enter"));
  assert.match(await written(page), /^<\|bos\|>The cat/);
  for (let n = 0; n < 40 && !(await page.evaluate(() => document.activeElement.matches(".t"))); n++) await page.keyboard.press("Tab");
  assert.equal(await focused(), "<|bos|>");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), "cat");
  await page.keyboard.press("Enter");
  assert.equal(await page.textContent("#view h2"), "·cat");
  await page.keyboard.press("ArrowRight");
  assert.notEqual(await page.textContent("#view h2"), "·cat");
  await page.keyboard.press("ArrowLeft");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  assert.ok(await page.evaluate(() => document.getElementById("inspector").contains(document.activeElement)));
  await page.keyboard.press("Escape");
  assert.equal(await focused(), "cat");
  assert.ok(await page.locator("#view .nothing").isVisible());
  await page.keyboard.press("End");
  const last = await focused();
  await page.keyboard.press("ArrowUp");
  assert.notEqual(await focused(), last);
  await page.keyboard.press("/");
  await page.keyboard.type("dog");
  await page.waitForSelector("#steer-finder [role=option]");
  await again(page, () => page.keyboard.press("Enter"));
  assert.equal(await page.locator("#specs .spec").count(), 1);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a text is stopped, and what there is of it stays", async () => {
  const { address: at } = await harness.paced();
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "400" }), { at, done: false });

  await page.waitForSelector(".pane .t:not(.p) >> nth=3");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.getElementById("status").textContent === "Stopped.");
  const count = await page.locator(".pane .t").count();
  await page.waitForTimeout(300);
  assert.equal(await page.locator(".pane .t").count(), count);
  assert.ok(count < 300, `${count} tokens`);
  assert.ok(await page.locator("#run").isVisible());

  assert.deepEqual(wrong, []);
  await context.close();
});

test("four thousand tokens are drawn without a pause", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "2" }));
  const chunk = (n) => `data: ${JSON.stringify({ choices: [{ index: 0, text: n % 50 === 49 ? ".\n" : ` word${n}`, finish_reason: n === 3999 ? "length" : null }], nanoscope: { position: n, token_id: n, token: ` word${n}`, features: { [HOOK]: Array.from({ length: 32 }, (_, at) => [(n * 7 + at * 31) % 2048, 1 + n / 100 - at / 32]) } } })}\n\n`;

  // Faster than any server: the page must keep up, and not wait for the end of the stream.
  const longest = await page.evaluate(async (text) => {
    const bytes = new TextEncoder().encode(text);
    const real = window.fetch;
    window.fetch = async (path, options) => (String(path).startsWith("/v1/") ? new Response(new ReadableStream({
      async pull(controller) {
        this.at ??= 0;
        if (this.at >= bytes.length) return controller.close();
        controller.enqueue(bytes.subarray(this.at, this.at + 40_001));
        this.at += 40_001;
        await new Promise((next) => setTimeout(next, 2));
      },
    })) : real(path, options));
    const status = document.getElementById("status");
    status.textContent = "";
    let [longest, before] = [0, performance.now()];
    document.getElementById("run").click();
    await new Promise((end) => {
      const frame = () => {
        const now = performance.now();
        longest = Math.max(longest, now - before);
        before = now;
        if (status.textContent.startsWith("Done")) end();
        else requestAnimationFrame(frame);
      };
      requestAnimationFrame(frame);
    });
    return longest;
  }, Array.from({ length: 4000 }, (_, n) => chunk(n)).join("") + "data: [DONE]\n\n");

  assert.equal(await page.locator(".pane .t").count(), 4000);
  assert.ok(longest < 1000, `a frame took ${longest.toFixed(0)} ms`);
  assert.deepEqual(wrong, []);
  await context.close();
});

for (const colorScheme of ["light", "dark"]) {
  test(`nothing runs over the side of a phone, ${colorScheme}, and text has contrast`, async () => {
    const { page, context, wrong } = await open(link({ prompt: PROMPT, compare: "1", shade: `${HOOK}:1909` }, [DOG]), { viewport: { width: 360, height: 740 }, colorScheme, deviceScaleFactor: 2 });

    assert.equal(await over(page), 0);
    await page.screenshot({ path: join(harness.pictures, `page-phone-${colorScheme}.png`) });
    await page.click(".settings summary");
    assert.equal(await over(page), 0, "settings");
    await page.locator(".pane.steered .t").nth(12).click();
    assert.equal(await over(page), 0, "a token's features");
    const token = await page.locator(".pane.steered .t[aria-current]").boundingBox();
    const sheet = await page.locator("#inspector").boundingBox();
    assert.ok(token.y + token.height < sheet.y && token.y > 0, `the token is seen above the sheet: ${token.y}, ${sheet.y}`);
    await page.screenshot({ path: join(harness.pictures, `page-sheet-${colorScheme}.png`) });
    await page.locator("#view .features button").first().click();
    await page.waitForSelector("#view .facts dd");
    assert.equal(await over(page), 0, "a feature");
    await page.click("#close");
    assert.ok(await page.locator("#inspector").isHidden());

    const { paper, least } = await page.evaluate(() => {
      const parse = (colour) => {
        const canvas = new OffscreenCanvas(1, 1).getContext("2d");
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
      };
      const light = (rgb) => {
        const [r, g, b] = rgb.map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const paper = light(parse(getComputedStyle(document.body).backgroundColor));
      const card = light(parse(getComputedStyle(document.getElementById("output")).backgroundColor));
      const ratios = [...document.querySelectorAll(".hint, .t, .label, .home, summary, h2, h3")].map((element) => {
        const ink = light(parse(getComputedStyle(element).color));
        return Math.min(...[paper, card].map((back) => (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05)));
      });
      return { paper, least: Math.min(...ratios) };
    });
    assert.equal(paper < 0.2, colorScheme === "dark");
    assert.ok(least >= 4.5, `contrast ${least}`);
    assert.deepEqual(wrong, []);
    await context.close();
  });
}

test("the theme is chosen over the system's, and kept", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "3" }), { colorScheme: "light" });
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await paper();

  await page.click("#theme");
  assert.equal(await paper(), light);
  await page.click("#theme");
  const dark = await paper();
  assert.notEqual(dark, light);
  await page.reload();
  assert.equal(await paper(), dark);
  assert.equal(await over(page), 0);

  assert.deepEqual(wrong, []);
  await context.close();
});
