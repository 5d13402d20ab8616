// Checks the page with axe-core, and the contrast of every shade.
import assert from "node:assert/strict";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { after, before, test } from "node:test";
import { DOG, HOOK, Harness, PROMPT, SHADED, again, link, overflow, root, violations } from "./page-harness.js";

const harness = new Harness();

before(() => harness.start());
after(() => harness.close());

for (const colorScheme of ["light", "dark"]) {
  for (const width of [1280, 320]) {
    test(`axe finds nothing, ${colorScheme}, ${width} px wide`, async () => {
      const { page, context, wrong } = await harness.open(link({ prompt: PROMPT, shade: `${HOOK}:1909` }, [DOG]), { viewport: { width, height: 800 }, colorScheme });
      const look = async (state) => {
        await page.screenshot({ path: join(harness.pictures, `axe-${colorScheme}-${width}-${state}.png`), fullPage: true });
        assert.deepEqual(await violations(page), [], state);
        assert.equal(await overflow(page), 0, state);
      };
      await look("story");
      await page.locator(".pane .t >> nth=14").click();
      await look("token");
      await page.locator("#view .features button").first().click();
      await page.waitForSelector("#view .facts dd");
      await page.click("#view .edit summary");
      await look("feature");
      await page.click("#view .pin");
      await look("pinned");
      await page.click("#close");
      await again(page, () => page.check("#compare"));
      await page.selectOption("#shade", `${HOOK}:1909`);
      await page.locator(".pane.steered .t >> nth=14").click();
      await look("compare");
      await page.click("#close");
      await page.hover(".pane.steered .t >> nth=16");
      await page.waitForSelector("#hover:not([hidden])");
      await look("hover");
      await again(page, () => page.fill("#specs input[type=number]", "60"));
      await page.click("#active");
      await look("active");
      await page.click("#close");
      await page.click("#plain summary");
      await page.evaluate(() => document.querySelector(".pane.steered").scrollIntoView());
      await page.waitForTimeout(100);
      await look("plain");
      await again(page, () => page.evaluate((hash) => { location.hash = hash; }, link({ prompt: PROMPT, compare: "1" }, [`${HOOK}:1909:add:1.5:norm`])));
      await look("broken");
      await page.click(".settings summary");
      await page.fill("#temperature", "-3");
      await page.fill("#steer-finder input", "dog");
      await page.waitForSelector("#steer-finder [role=option]");
      await look("search");
      await page.fill("#steer-finder input", "zzzyx");
      await page.waitForSelector("#steer-finder .none");
      await look("search-without-hits");
      await page.keyboard.press("Escape");
      await page.check("#modes [value=chat]", { force: true });
      await look("chat-begins");
      await page.fill("#prompt", "Tell me about a cat.");
      await again(page, () => page.press("#prompt", "Enter"));
      await page.click(".read summary >> nth=0");
      await look("chat");

      assert.deepEqual(wrong, []);
      await context.close();
    });
  }

  test(`text can be read on every shade, ${colorScheme}`, async () => {
    const { page, context, wrong } = await harness.open(link({ prompt: PROMPT, max_tokens: "2" }), { colorScheme });

    const least = await page.evaluate(() => {
      const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
      // Colours are drawn over each other as the browser does.
      const over = (...colours) => {
        for (const colour of colours) {
          canvas.fillStyle = colour;
          canvas.fillRect(0, 0, 1, 1);
        }
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const card = getComputedStyle(document.getElementById("output")).backgroundColor;
      const paragraph = document.querySelector(".pane .text p");
      const ratios = [];
      for (let step = 0; step <= 12; step++) {
        for (const kind of ["t", "t p"]) {
          const span = document.createElement("span");
          span.className = `${kind} s${step}`;
          span.textContent = "x";
          paragraph.append(span);
          const style = getComputedStyle(span);
          const back = over(card, style.backgroundColor);
          const ink = over(card, style.backgroundColor, style.color);
          ratios.push([(Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05), span.className]);
        }
      }
      return ratios.reduce((a, b) => (a[0] < b[0] ? a : b));
    });
    assert.ok(least[0] >= 4.5, least.join());

    assert.deepEqual(wrong, []);
    await context.close();
  });
}

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing on the page of a saved run, ${colorScheme}`, async () => {
    const { page, context } = await harness.open(link({ prompt: PROMPT, compare: "1" }, [DOG]), { colorScheme });
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#html")]);
    const file = join(harness.folder, download.suggestedFilename());
    await download.saveAs(file);

    await page.goto(pathToFileURL(file).href);
    await page.locator(".t >> nth=14").click();
    await page.locator("#panel button").first().click();
    assert.deepEqual(await violations(page), []);

    await context.close();
  });
}

test("a token with the focus is described by its card", async () => {
  const { page, context, wrong } = await harness.open(link({ prompt: PROMPT }));
  const described = page.locator("[aria-describedby=hover]");

  await page.locator(".pane .t[tabindex='0']").focus();
  await page.keyboard.press("End");
  await page.waitForSelector("#hover:not([hidden])");
  assert.equal(await described.count(), 1);
  assert.ok(await described.evaluate((token) => token === document.activeElement));
  await page.setViewportSize({ width: 1000, height: 700 });
  await page.waitForSelector("#hover", { state: "hidden" });
  assert.equal(await described.count(), 0);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("in forced colours the shades are still seen", async () => {
  const { page, context, wrong } = await harness.open(link({ prompt: PROMPT, shade: HOOK }), { forcedColors: "active" });

  const backgrounds = await page.locator(`.pane ${SHADED}`).evaluateAll((tokens) => tokens.map((token) => getComputedStyle(token).backgroundColor));
  assert.ok(new Set(backgrounds).size > 3, backgrounds.join());
  assert.deepEqual(await violations(page), []);
  await page.screenshot({ path: join(harness.pictures, "page-forced-colours.png") });

  assert.deepEqual(wrong, []);
  await context.close();
});

test("axe finds nothing where there is no SAE, where the server is lost, and where a key is asked for", async () => {
  const bare = await harness.serve(["--model", join(root, "models/demo")]);
  const locked = await harness.serve(["--api-key", "sesame"]);
  const { page, context } = await harness.open(link({ prompt: PROMPT, max_tokens: "4" }), { at: bare });
  assert.deepEqual(await violations(page), []);
  await page.route("**/v1/**", (route) => route.abort());
  await page.click("#run");
  await page.waitForSelector("#reconnect:not([hidden])");
  assert.deepEqual(await violations(page), []);
  await page.route("**/api/about", (route) => route.abort());
  await page.reload();
  await page.waitForSelector("#lost:not([hidden])");
  assert.deepEqual(await violations(page), []);
  await page.unroute("**/api/about");
  await page.goto(locked);
  await page.waitForSelector("#key:not([hidden])");
  await page.fill("#key-text", "wrong");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#key-error:not([hidden])");
  assert.deepEqual(await violations(page), []);
  await context.close();
});
