// Opens a dashboard from disk in Chromium.
//
// NANOSCOPE_BINARY names the binary, CHROMIUM the browser, NANOSCOPE_SCREENSHOTS a folder for
// pictures.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Dashboards, fixtures, visit } from "./dashboard-harness.js";
import { overflow } from "./page-harness.js";

const dashboards = new Dashboards();
const { folder, pictures } = dashboards;
const make = dashboards.make.bind(dashboards);
const open = dashboards.open.bind(dashboards);

before(async () => {
  make("pages", join(fixtures, "labels.json"), ["--features", "0..130"]);
  await dashboards.start();
});

after(() => dashboards.close());

test("index and ten features load without an error and without a request", async () => {
  const { page, context, wrong } = await open();

  assert.equal(await page.locator("#count").textContent(), "130 features");
  assert.equal(await page.locator("#rows li").count(), 50);
  assert.ok(await page.locator("#layers").isHidden(), "nothing is beside it");
  await page.waitForTimeout(300);
  await page.screenshot({ path: join(pictures, "index.png") });
  for (const feature of [0, 3, 5, 8, 11, 20, 63, 64, 100, 129]) {
    await visit(page, feature);
    assert.ok(await page.locator("#feature .columns .card").count() === 5, `feature ${feature}`);
  }
  await visit(page, 11);
  await page.screenshot({ path: join(pictures, "feature.png"), fullPage: true });

  assert.deepEqual(wrong, []);
  await context.close();
});

test("hostile text is shown as text and never run", async () => {
  const { page, context, wrong } = await open();

  const seen = new Set();
  const wanted = ["<script>alert(1)</script>", "</script><script>window.hacked=1</script>", "<img src=x onerror=", "<!-- a little -->", "⟨2028⟩", "⟨202E⟩backwards", "⟨0000⟩", "語", "“", "</textarea><svg/onload="];
  for (let feature = 0; feature < 130 && seen.size < wanted.length; feature++) {
    await visit(page, feature);
    const texts = await page.locator("#feature .text").allTextContents();
    for (const text of wanted) if (texts.some((shown) => shown.includes(text))) seen.add(text);
  }
  assert.deepEqual([...seen].sort(), [...wanted].sort());
  await visit(page, 5);
  assert.equal(await page.locator("#feature h1 .label").textContent(), "</script><script>window.hacked=8</script>");
  await visit(page, 8);
  assert.equal(await page.locator("#feature h1 .label").textContent(), "quotes ' \" ` & ⟨202E⟩ reversed ⟨2028⟩ line");
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  const foreign = await page.locator("main img, main script, main svg [onload], main iframe").count();
  assert.equal(foreign, 0);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("search finds labels, tokens and numbers", async () => {
  const { page, context, wrong } = await open();
  const found = async (text) => {
    await page.fill("#search", text);
    await page.waitForFunction((query) => location.hash === `#${new URLSearchParams({ q: query.trim() })}`, text);
    return page.locator("#rows .index").allTextContents();
  };

  assert.deepEqual(await found("SNAILS"), ["11"]);
  assert.deepEqual(await found("<img src"), ["3"]);
  assert.equal((await found("#100"))[0], "100");
  assert.deepEqual(await found("no such label or token"), []);
  const said = await found(" said");
  assert.ok(said.length > 0 && said.length < 50, `${said.length} features of " said"`);
  await page.fill("#search", "");
  await page.check("#labelled");
  const labels = await page.locator("#rows .label").allTextContents();
  assert.ok(labels.length >= 4 && (await page.locator("#rows .chip").count()) === 0, labels.join());

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the list is sorted by what is asked", async () => {
  const { page, context, wrong } = await open();
  const column = async (sort, of) => {
    await page.selectOption("#sort", sort);
    return (await page.locator(of).allTextContents()).map((text) => parseFloat(text.replace(/[^0-9.]/g, "")));
  };
  const falls = (values) => values.every((value, at) => at === 0 || values[at - 1] >= value);

  const densities = await column("density", "#rows .density");
  assert.ok(falls(densities) && densities[0] > densities.at(-1), densities.join());
  const maxima = await column("max", "#rows .max");
  assert.ok(falls(maxima) && maxima[0] > maxima.at(-1), maxima.join());
  assert.deepEqual((await column("index", "#rows .index")).slice(0, 3), [0, 1, 2]);
  await column("label", "#rows .label");
  assert.equal(await page.locator("#rows li").first().locator(".chip").count(), 0, "people's labels come first");
  await page.click("#next");
  assert.equal(await page.locator("#pages").textContent(), "2 / 3");

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a label is kept, and downloaded as our labels.json", async () => {
  const { page, context, wrong } = await open();
  const label = "\"new\" <b>label</b> é";

  await visit(page, 20);
  await page.fill("#label", `  ${label} `);
  await page.click(".box button");
  await visit(page, 3);
  await page.fill("#label", "");
  await page.click(".box button");
  await page.reload();
  await page.waitForSelector("#feature h1");
  await visit(page, 20);
  assert.equal(await page.inputValue("#label"), label);
  assert.equal(await page.locator("#feature h1 .label").textContent(), label);
  assert.match(await page.locator("#download").textContent(), /2 changed/);
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  const text = readFileSync(await download.path(), "utf8");
  const given = JSON.parse(readFileSync(join(fixtures, "labels.json"), "utf8"));
  const file = JSON.parse(text);
  assert.equal(download.suggestedFilename(), "labels.json");
  assert.equal(file["20"], label);
  // If it were left out, the label beside the SAE would show again.
  assert.equal(file["3"], "");
  for (const feature of ["5", "11"]) assert.equal(file[feature], given[feature]);
  // Invisible characters are replaced by their numbers when the labels are loaded.
  assert.equal(file["8"], given["8"].replace("\u202e", "⟨202E⟩").replace("\u2028", "⟨2028⟩"));

  // The command reads the file that the page writes.
  await download.saveAs(join(folder, "labels.json"));
  make("again", join(folder, "labels.json"), ["--features", "20..22", "--tokens", "300"]);
  await page.goto(dashboards.address("again"));
  await page.waitForSelector("#rows li");
  assert.equal(await page.locator("#rows .label").first().textContent(), label);
  // The file has the edits, and keeps the labels of features without a page.
  assert.equal(await page.locator("#download").textContent(), "Download labels.json");
  const [again] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  assert.deepEqual(JSON.parse(readFileSync(await again.path(), "utf8")), file);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("an edit gives way to a label that was given later", async () => {
  const { page, context, wrong } = await open();

  await visit(page, 5);
  await page.fill("#label", "mine");
  await page.click(".box button");
  const labels = join(folder, "newer.json");
  writeFileSync(labels, JSON.stringify({ 5: "another's, newer" }));
  make("newer", labels, ["--features", "5..7", "--tokens", "300"]);
  await page.goto(dashboards.address("newer"));
  await page.waitForSelector("#rows li");

  assert.equal(await page.locator("#rows .label").first().textContent(), "another's, newer");
  assert.equal(await page.locator("#download").textContent(), "Download labels.json");
  assert.deepEqual(wrong, []);
  await context.close();
});

test("j and k turn pages only where a feature is shown", async () => {
  const { page, context, wrong } = await open();

  await visit(page, 11);
  await page.keyboard.press("j");
  await page.waitForSelector('#feature h1 .hash:text-is("#12")');
  await page.keyboard.press("k");
  await page.waitForSelector('#feature h1 .hash:text-is("#11")');
  await page.evaluate(() => { location.hash = ""; });
  await page.waitForSelector("#list:not([hidden])");
  await page.keyboard.press("j");
  await page.waitForTimeout(200);
  assert.equal(await page.evaluate(() => location.hash), "");

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a file that says nothing is named as missing", async () => {
  const { page, context } = await open();

  const broken = join(folder, "pages/data/features-1.js");
  const whole = readFileSync(broken);
  writeFileSync(broken, "");
  await page.evaluate(() => { location.hash = "100"; });
  await page.waitForSelector("#notice:not([hidden])");
  assert.match(await page.locator("#notice").textContent(), /data\/features-1\.js/);
  // It is read once it is there.
  writeFileSync(broken, whole);
  await page.evaluate(() => { location.hash = ""; });
  await visit(page, 100);

  await context.close();
});

test("values are reached with the keyboard", async () => {
  const { page, context, wrong } = await open();

  await visit(page, 11);
  await page.locator("#feature .steps a").first().focus();
  for (let n = 0; n < 200 && !(await page.evaluate(() => document.activeElement.matches(".example [role=slider]"))); n++) await page.keyboard.press("Tab");
  assert.ok(await page.locator("#tip").isVisible());
  const first = await page.locator("#tip").textContent();
  const said = () => page.evaluate(() => document.activeElement.getAttribute("aria-valuetext"));
  const peak = await said();
  assert.match(peak, /^[\d.]+ at \S/);
  await page.keyboard.press("ArrowRight");
  assert.notEqual(await said(), peak);
  const second = await page.locator("#tip").textContent();
  await page.keyboard.press("ArrowLeft");
  assert.match(first, /token \d+/);
  assert.notEqual(first, second);
  assert.equal(await page.locator("#tip").textContent(), first);
  assert.equal(await said(), peak);
  await page.keyboard.press("End");
  const end = await page.evaluate(() => [document.activeElement.ariaValueNow, document.activeElement.ariaValueMax]);
  assert.equal(end[0], end[1]);
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#tip").isHidden());

  assert.deepEqual(wrong, []);
  await context.close();
});

for (const colorScheme of ["light", "dark"]) {
  test(`on a narrow phone nothing runs over the side, ${colorScheme}`, async () => {
    const { page, context, wrong } = await open({ viewport: { width: 360, height: 740 }, colorScheme, deviceScaleFactor: 2 });

    assert.equal(await overflow(page), 0);
    await page.screenshot({ path: join(pictures, `phone-index-${colorScheme}.png`) });
    for (const feature of [3, 5, 8, 11, 64]) {
      await visit(page, feature);
      assert.equal(await overflow(page), 0, `feature ${feature}`);
    }
    await visit(page, 11);
    await page.screenshot({ path: join(pictures, `phone-feature-${colorScheme}.png`), fullPage: true });

    assert.deepEqual(wrong, []);
    await context.close();
  });
}

test("the dark is dark, and text has contrast in either", async () => {
  for (const [colorScheme, dark] of [["light", false], ["dark", true]]) {
    const { page, context, wrong } = await open({ colorScheme });
    const ratio = () => page.evaluate(() => {
      const parse = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number);
      const light = (rgb) => {
        const [r, g, b] = rgb.map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const paper = light(parse(getComputedStyle(document.body).backgroundColor));
      const ratios = [...document.querySelectorAll(".row .label, .hint, .index, .home, footer")].map((element) => {
        const ink = light(parse(getComputedStyle(element).color));
        return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
      });
      return { paper, least: Math.min(...ratios) };
    });

    const { paper, least } = await ratio();
    assert.equal(paper < 0.2, dark, `${colorScheme}: ${paper}`);
    assert.ok(least >= 4.5, `${colorScheme}: contrast ${least}`);
    await page.waitForTimeout(200);
    await page.screenshot({ path: join(pictures, `index-${colorScheme}.png`) });
    await visit(page, 11);
    await page.screenshot({ path: join(pictures, `feature-${colorScheme}.png`) });
    assert.deepEqual(wrong, []);
    await context.close();
  }
});
