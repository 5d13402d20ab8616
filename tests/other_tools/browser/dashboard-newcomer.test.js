// A dashboard at first sight: names, the command for steering, axes, the keyboard, a phone, axe-core.
//
// NANOSCOPE_BINARY names the binary, CHROMIUM the browser, NANOSCOPE_SCREENSHOTS a folder for
// pictures.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Dashboards, fixtures, visit } from "./dashboard-harness.js";
import { overflow, violations } from "./page-harness.js";

const dashboards = new Dashboards();
const DEAD = 46;

before(async () => {
  const labels = join(fixtures, "labels.json");
  dashboards.make("pages", labels, ["--features", "0..130", "--compact"]);
  dashboards.make("layer_1", labels, ["--features", "0..4", "--compact"], 1);
  await dashboards.start();
});

after(() => dashboards.close());

test("every feature has a name, and an automatic one is grey and marked", async () => {
  const { page, context, wrong } = await dashboards.open();

  const soft = await page.locator("#count").evaluate((element) => getComputedStyle(element).color);
  let [automatic, others] = [0, 0];
  for (const feature of [0, 3, 11, DEAD, 64, 129]) {
    await visit(page, feature);
    const names = await page.locator("#feature .label").evaluateAll((labels) => labels.map((label) => ({ text: label.textContent.trim(), auto: label.matches(".auto"), marked: label.querySelector(".chip") !== null, color: getComputedStyle(label).color })));
    for (const { text, auto, marked, color } of names) {
      assert.ok(text.length > 0 && !/no label|no page|undefined|null/i.test(text), text);
      assert.equal(marked, auto, text);
      if (auto) assert.equal(color, soft, text);
    }
    automatic += names.filter(({ auto }) => auto).length;
    others += await page.locator("#feature .others .off .chip").count();
  }
  assert.ok(automatic > 50 && others > 20, `${automatic} automatic names, ${others} of features without a page`);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the command for steering is copied", async () => {
  const { page, context, wrong } = await dashboards.open({ permissions: ["clipboard-read", "clipboard-write"] });

  await visit(page, 11);
  // The share is the one that was measured for the demo's SAE.
  const command = await page.locator("#feature .steer code").textContent();
  assert.match(command, /^nanoscope generate --steer blocks\.2\.hook_resid_post:11:add:[1-9]\d%$/);
  await page.evaluate(() => { Object.defineProperty(navigator, "clipboard", { value: { writeText: async (text) => { window.copied = text; } } }); });
  await page.click("#feature .steer button");
  await page.waitForSelector('#feature .steer [role=status]:text-is("Copied.")');
  assert.equal(await page.evaluate(() => window.copied), command);
  // Where the clipboard is closed to pages, the command is selected.
  await page.evaluate(() => {
    navigator.clipboard.writeText = () => Promise.reject(new Error("not allowed"));
    document.execCommand = () => false;
  });
  await page.click("#feature .steer button");
  await page.waitForSelector('#feature .steer [role=status]:text-matches("^Copying is not allowed here")');
  assert.equal(await page.evaluate(() => String(getSelection())), command);

  const text = (flags) => page.evaluate((given) => {
    const section = steerCommand({ flags: given, strength: "12.5%" }, "blocks.0.hook_resid_pre", 7);
    return [section.querySelector("code").textContent, section.querySelector(".hint").textContent];
  }, flags);
  const [withPaths, hint] = await text("--model 'my model' --sae saes");
  assert.equal(withPaths, "nanoscope generate --model 'my model' --sae saes --steer blocks.0.hook_resid_pre:7:add:12.5%");
  assert.match(hint, /12\.5 % of the activation's.*as they were given/);
  const [unknown, says] = await text(null);
  assert.equal(unknown, "nanoscope generate --steer blocks.0.hook_resid_pre:7:add:12.5%");
  assert.match(says, /Add --model and --sae/);

  assert.deepEqual(wrong, []);
  await context.close();
});

/** The histogram in `place`: names and numbers of its axes, and the heights of its bars. */
function plot(page, place) {
  return page.locator(place).evaluate((element) => {
    const texts = (selector) => [...element.querySelectorAll(selector)].map((text) => text.textContent);
    const bars = [...element.querySelectorAll(".bars g")].map((group) => [Number(group.querySelector("rect.bar").getAttribute("height")), group.querySelector("title").textContent]);
    return { names: texts(".x-name, .y-name"), x: texts(".x-axis span"), y: texts(".y-axis span"), heights: bars.map(([height]) => height), counts: bars.map(([, title]) => Number(title.split(" ")[0].replaceAll(",", ""))) };
  });
}

test("histograms have named axes with numbers, linear or logarithmic", async () => {
  const { page, context, wrong } = await dashboards.open();

  const densities = await plot(page, "#densities");
  assert.deepEqual(densities.names, ["number of features", "density (share of tokens)"]);
  assert.ok(densities.x.length >= 3 && densities.x.every((text) => /^[\d.]+ %$/.test(text)) && densities.x.at(-1) === "100 %", densities.x.join());
  assert.ok(densities.y.length >= 3 && densities.y[0] === "0", densities.y.join());
  const total = densities.counts.reduce((sum, n) => sum + n, 0);
  await page.locator("#densities select").first().selectOption("linear");
  const linear = await plot(page, "#densities");
  assert.ok(linear.x[0] === "0 %" && linear.x.join() !== densities.x.join(), linear.x.join());
  assert.equal(linear.counts.reduce((sum, n) => sum + n, 0), total, "every living feature is in a bar");

  await visit(page, 11);
  const log = await plot(page, "#feature .histogram");
  assert.deepEqual(log.names, ["number of tokens", "activation"]);
  assert.ok(log.x[0] === "0" && log.x.length >= 3, log.x.join());
  await page.locator("#feature .histogram select").selectOption("linear");
  const { heights, counts, y } = await plot(page, "#feature .histogram");
  assert.deepEqual(counts, log.counts);
  assert.equal(y[0], "0");
  // On the linear axis heights are proportional to counts, on the other they are not.
  const most = Math.max(...counts);
  assert.ok(most > 1);
  const share = (all) => all[counts.indexOf(1)] / all[counts.indexOf(most)];
  assert.ok(Math.abs(share(heights) - 1 / most) < 1e-6, `${share(heights)} of ${most}`);
  assert.ok(share(log.heights) > 1.2 / most, `${share(log.heights)} of ${most}`);
  // The choice holds for the next feature.
  await visit(page, 12);
  assert.equal(await page.locator("#feature .histogram select").inputValue(), "linear");

  const ticks = await page.evaluate(() => [roundTicks(0, 35.3, 5), roundTicks(-0.3, 0.42, 4), roundTicks(2, 2, 5), countScale(0, true).ticks, countScale(1234, true).ticks, countScale(3, false).ticks]);
  assert.deepEqual(ticks, [[0, 10, 20, 30], [-0.2, 0, 0.2, 0.4], [2], [], [1, 10, 100, 1000], [0, 1, 2, 3]]);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("the focus follows a feature, and comes back to the row that was left", async () => {
  const { page, context, wrong } = await dashboards.open();
  const focused = () => page.evaluate(() => document.activeElement.tagName + (document.activeElement.getAttribute("href") ?? ""));

  assert.equal(await focused(), "BODY");
  await page.locator("#rows a").nth(7).focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector('#feature h1 .hash:text-is("#7")');
  assert.equal(await focused(), "H1");
  await page.keyboard.press("j");
  await page.waitForSelector('#feature h1 .hash:text-is("#8")');
  assert.equal(await focused(), "H1");
  await page.goBack();
  await page.waitForSelector('#feature h1 .hash:text-is("#7")');
  await page.goBack();
  await page.waitForSelector("#list:not([hidden])");
  assert.equal(await focused(), "A#7");
  await page.evaluate(() => { location.hash = "1999"; });
  await page.waitForSelector("#notice:not([hidden])");
  await page.fill("#search", "said");
  await page.waitForSelector("#rows .why");
  assert.ok(await page.locator("#notice").isHidden());

  assert.deepEqual(wrong, []);
  await context.close();
});

test("keys of one letter can be turned off", async () => {
  const { page, context, wrong } = await dashboards.open();
  const searching = () => page.evaluate(() => document.activeElement.id === "search");

  await page.keyboard.press("/");
  assert.ok(await searching());
  await page.uncheck("#shortcuts");
  await page.keyboard.press("/");
  assert.ok(!(await searching()));
  await page.reload();
  await page.waitForSelector("#notice", { state: "hidden" });
  assert.ok(!(await page.isChecked("#shortcuts")));
  await page.keyboard.press("/");
  assert.ok(!(await searching()));

  assert.deepEqual(wrong, []);
  await context.close();
});

for (const colorScheme of ["light", "dark"]) {
  test(`on a phone the search comes first, ${colorScheme}`, async () => {
    const { page, context, wrong } = await dashboards.open({ viewport: { width: 390, height: 844 }, colorScheme, deviceScaleFactor: 2 });

    const top = (selector) => page.locator(selector).evaluate((element) => element.getBoundingClientRect().top);
    const search = await top("#search");
    assert.ok(search < 844 / 4, `the search begins at ${search}`);
    assert.ok(search < await top("#rows") && await top("#rows") < await top("#densities"));
    const first = await page.evaluate(() => document.querySelector("main :is(input, select, button, figure)").id);
    assert.equal(first, "search", "the order of the keyboard is the same");
    await page.screenshot({ path: join(dashboards.pictures, `phone-search-${colorScheme}.png`) });
    assert.equal(await overflow(page), 0);
    await page.fill("#search", "said");
    await page.waitForSelector("#rows .why");
    assert.equal(await overflow(page), 0);

    assert.deepEqual(wrong, []);
    await context.close();
  });

  for (const width of [1280, 390]) {
    test(`axe finds nothing, ${colorScheme}, ${width} px wide`, async () => {
      const { page, context } = await dashboards.open({ viewport: { width, height: 844 }, colorScheme });
      const look = async (state) => {
        const found = await violations(page, { preload: false });
        await page.screenshot({ path: join(dashboards.pictures, `axe-${colorScheme}-${width}-${state}.png`), fullPage: state === "feature" });
        assert.deepEqual(found, [], state);
      };

      await look("list");
      await page.fill("#search", "said");
      await page.waitForSelector("#rows .why");
      await look("found");
      await page.fill("#search", "zzqq");
      await page.waitForSelector("#rows:empty", { state: "attached" });
      await look("nothing");
      for (const [feature, state] of [[0, "automatic"], [DEAD, "dead"], [11, "feature"]]) {
        await visit(page, feature);
        await look(state);
      }
      await page.focus("#feature .example [role=slider]");
      await page.keyboard.press("ArrowRight");
      await look("tip");
      await page.evaluate(() => { location.hash = "1999"; });
      await page.waitForSelector("#notice:not([hidden])");
      await look("no-page");
      await context.close();
    });
  }
}
