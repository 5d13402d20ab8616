// The causes of a token on the page, from the real server.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { HOOK, Harness, PROMPT, SHADED, again, downloaded, link, overflow, root, violations, written } from "./page-harness.js";

const harness = new Harness();
const open = (...args) => harness.open(...args);
const STEERED = `${HOOK}:1909:add:0.3:norm`;
const SENTENCE = "#view .sentence";
const ROWS = "#view .causes > li";
/** A generated token, counted from 0 among those. */
const AT = 6;

before(() => harness.start());
after(() => harness.close());

/** The tokens of a text of the run that is shown. */
const tokensOf = async (page, choice = 0) => JSON.parse((await downloaded(page, "#export")).text).texts[choice].tokens;

/** Asks the server as the page does, without it. */
async function direct(tokens, at, more = {}) {
  const ids = tokens.slice(0, at + 1).map(({ token_id }) => token_id);
  const response = await fetch(`${harness.address}api/attribute`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ tokens: ids, position: at - 1, exact: 20, top: 20, lens: 3, alternatives: 5, ...more }) });
  assert.equal(response.status, 200);
  return response.json();
}

/** Opens a token of a pane, and asks why it was written. */
async function why(page, token = `.pane .t:not(.p) >> nth=${AT}`) {
  await page.locator(token).first().click();
  await page.click("#view >> text=Why this token?");
  await page.waitForSelector(SENTENCE);
}

const percent = (share) => `${Number((100 * share).toPrecision(share >= 0.01 ? 3 : 2))} %`;
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value) >= 0.1 ? Math.abs(value).toFixed(2) : String(Number(Math.abs(value).toPrecision(1)))}`;
const shown = (text) => text.replace(/\n/g, "↵").replace(/^ | $/g, "·");

/** The sentence for the numbers of an answer. */
function sentence({ target, contrast, metric }) {
  const has = ({ logprob }) => percent(Math.exp(logprob));
  return `${shown(target.text)} rather than ${shown(contrast.text)}: logit difference ${signed(metric.value)}; ${shown(target.text)} has ${has(target)}, ${shown(contrast.text)} ${has(contrast)}.`;
}

test("the button asks why a token was written, and the panel has the server's numbers", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));
  const tokens = await tokensOf(page);
  const at = tokens.filter(({ prompt }) => prompt).length + AT;
  const causes = await direct(tokens, at);
  assert.equal(causes.target.id, tokens[at].token_id);
  assert.equal(causes.metric.name, "logit_diff");

  await why(page);
  assert.equal(await page.textContent("#view h2"), `Why ${shown(tokens[at].token)}?`);
  assert.equal(await page.textContent(SENTENCE), sentence(causes));
  assert.equal(await page.locator(ROWS).count(), 8);
  await page.click("#view >> text=All 20");
  assert.equal(await page.locator(ROWS).count(), 20);
  const rows = await page.locator(ROWS).evaluateAll((all) => all.map((row) => {
    const middle = (box) => (box.left + box.right) / 2;
    const sides = [...row.querySelectorAll(".bar")].map((track) => {
      const [whole, fill] = [track, track.firstElementChild].map((one) => one.getBoundingClientRect());
      return { side: Math.sign(middle(fill) - middle(whole)), width: (2 * fill.width) / whole.width };
    });
    const [at, exact] = [".after .token", ".number"].map((part) => row.querySelector(part).textContent);
    return { value: row.querySelector(".value").textContent, sides, at, exact, place: row.querySelector(".names .after").textContent, differs: row.querySelector(".warn") !== null };
  }));
  const most = Math.max(...causes.features.flatMap(({ attribution, ablation }) => [attribution, ablation]).map(Math.abs));
  for (const [n, row] of rows.entries()) {
    const { hook, feature, position, attribution, ablation, disagrees } = causes.features[n];
    const expected = { value: signed(attribution), at: shown(tokens[position].token), exact: signed(ablation), place: `layer ${hook.split(".")[1]} #${feature}`, differs: disagrees === true };
    const { sides, ...rest } = row;
    assert.deepEqual(rest, expected, `row ${n}`);
    for (const [bar, value] of [attribution, ablation].entries()) {
      assert.ok(Math.abs(sides[bar].width - Math.abs(value) / most) < 0.02, `row ${n}: ${sides[bar].width} for ${value} of ${most}`);
      if (sides[bar].width > 0.03) assert.equal(sides[bar].side, Math.sign(value), `row ${n}`);
    }
  }
  assert.equal(await page.locator("#differs-means").count(), causes.features.some(({ disagrees }) => disagrees) ? 1 : 0);
  assert.deepEqual(await page.locator("#view .unexplained li").allTextContents(), causes.hooks.map(({ hook, error_share }) => `The SAE of layer ${hook.split(".")[1]} leaves ${Math.round(100 * error_share)} % unexplained.`));
  const lens = await page.locator("#view .lens tbody tr").evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));
  assert.deepEqual(lens, causes.lens.map(({ hook, top, target }) => [`layer ${hook.split(".")[1]}`, percent(target), top.map(([, text, share]) => `${shown(text)} ${percent(share)}`).join(", ")]));
  await page.screenshot({ path: join(harness.pictures, "page-why.png") });

  // A row leads to its feature, and back.
  await page.locator(`${ROWS} button`).first().click();
  await page.waitForSelector("#view .facts dd");
  assert.match(await page.textContent("#view .above"), new RegExp(`#${causes.features[0].feature}$`));
  await page.click("#back");
  await page.waitForSelector(SENTENCE);
  assert.equal(await page.textContent(SENTENCE), sentence(causes));

  assert.deepEqual(wrong, []);
  await context.close();
});

test("the tokens with the causes are tinted while the panel is open, and the shades come back", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, shade: HOOK }));
  const tokens = await tokensOf(page);
  const at = tokens.filter(({ prompt }) => prompt).length + AT;
  const { features } = await direct(tokens, at);
  const look = () => page.locator(".pane .t").evaluateAll((all) => all.map((token) => [token.className, getComputedStyle(token).backgroundColor]));
  await page.mouse.move(0, 0);
  const before = await look();
  assert.ok(await page.locator(SHADED).count() > 10);
  assert.ok(await page.locator("#causes").isHidden());

  await why(page);
  const sums = new Map();
  for (const { position, attribution } of features) {
    const [size, sum] = sums.get(position) ?? [0, 0];
    sums.set(position, [size + Math.abs(attribution), sum + attribution]);
  }
  const most = Math.max(...[...sums.values()].map(([size]) => size));
  const tinted = await page.locator(".pane .t.cause").evaluateAll((all) => all.map((token) => [Number(token.dataset.at), Number(token.style.getPropertyValue("--weight")), token.classList.contains("against"), getComputedStyle(token).borderBottomStyle]));
  assert.deepEqual(tinted, [...sums].sort(([a], [b]) => a - b).map(([position, [size, sum]]) => [position, Number((size / most).toFixed(3)), sum < 0, sum < 0 ? "dashed" : "solid"]));
  const during = await look();
  for (const [n, [classes, background]] of during.entries()) if (!/cause/.test(classes)) assert.equal(background, "rgba(0, 0, 0, 0)", `token ${n} still has its shade`);
  assert.equal(await page.textContent("#causes"), `Causes of ${shown(tokens[at].token)}: for it against it`);
  assert.ok(await page.locator("#scale").isHidden());
  await page.screenshot({ path: join(harness.pictures, "page-why-tint.png") });

  await page.click("#close");
  await page.mouse.move(0, 0);
  assert.deepEqual(await look(), before);
  assert.ok(await page.locator("#causes").isHidden());
  assert.ok(await page.locator("#scale").isVisible());

  assert.deepEqual(wrong, []);
  await context.close();
});

test("a cause is turned off and the same run is repeated beside the text before, until it is turned on again", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, seed: "5" }));
  const plain = await written(page);
  const tokens = await tokensOf(page);
  const at = tokens.filter(({ prompt }) => prompt).length + AT;
  const { features } = await direct(tokens, at);
  const asked = [];
  page.on("request", (request) => request.url().endsWith("/v1/completions") && asked.push(request.postDataJSON()));
  await why(page);

  await again(page, () => page.locator(`${ROWS} .toggle`).first().click());
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Turn this on again");
  assert.deepEqual(asked.map(({ nanoscope, seed, temperature, prompt }) => [nanoscope.steer, seed, temperature, prompt]), [[[features[0].steer], 5, 0.7, PROMPT]]);
  assert.equal(await page.locator("#specs .spec").count(), 1);
  assert.equal(await page.locator("#specs select >> nth=0").inputValue(), "ablate");
  assert.match(await page.textContent("#specs select >> nth=1"), new RegExp(`position ${features[0].position}$`));
  assert.match(await page.textContent("#specs .applied"), /^Moved the activation at 1 token, by/);
  assert.equal(await written(page, ".pane.unsteered"), plain);
  const steered = (await tokensOf(page)).map(({ token_id }) => token_id);
  assert.deepEqual(steered.slice(0, features[0].position + 1), tokens.slice(0, features[0].position + 1).map(({ token_id }) => token_id));
  assert.notEqual(await written(page, ".pane.steered"), plain);

  // The panel stays, about the text that has the token.
  assert.equal(await page.textContent("#view h2"), `Why ${shown(tokens[at].token)}?`);
  assert.ok(await page.locator(".pane.unsteered .t.cause").count() > 0);
  assert.ok(page.url().includes(`why=unsteered%3A${at}`), page.url());
  await page.screenshot({ path: join(harness.pictures, "page-why-off.png") });
  // The same feature at another token is another intervention.
  const twin = features.findIndex(({ feature, hook, position }, n) => features.slice(0, n).some((one) => one.feature === feature && one.hook === hook && one.position !== position));
  assert.ok(twin > 0, "a feature that is a cause at two tokens");
  const first = features.findIndex(({ feature, hook }) => feature === features[twin].feature && hook === features[twin].hook);
  await page.click("#view >> text=All 20");
  const on = first === 0 ? [twin] : [first, twin];
  for (const n of on) await again(page, () => page.locator(`${ROWS} .toggle`).nth(n).click());
  assert.equal(await page.locator("#specs .spec").count(), 1 + on.length);
  for (const n of on) await again(page, () => page.locator(`${ROWS} .toggle`).nth(n).click());
  await again(page, () => page.locator(`${ROWS} .toggle`).first().click());
  assert.equal(await page.locator("#specs .spec").count(), 0);
  assert.equal(await written(page), plain);

  assert.deepEqual(wrong, []);
  await context.close();
});

test("an alternative is asked about, with a link and steps of the history", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));
  const tokens = await tokensOf(page);
  const at = tokens.filter(({ prompt }) => prompt).length + AT;
  const own = await direct(tokens, at);
  const other = own.alternatives.find(({ id }) => id !== tokens[at].token_id && id !== own.contrast.id);
  const causes = await direct(tokens, at, { target: other.id, contrast: tokens[at].token_id });
  await why(page);
  const sheet = page.locator("#view .asks button");
  assert.deepEqual((await sheet.locator(".token").allTextContents()).slice(0, 5), own.alternatives.map(({ text }) => shown(text)));
  assert.equal(await page.locator("#view .asks .taken .token").textContent(), shown(tokens[at].token));

  await sheet.nth(own.alternatives.indexOf(other)).click();
  await page.waitForFunction((text) => document.querySelector("#view .sentence")?.textContent === text, sentence(causes));
  assert.equal(await page.textContent("#view h2"), `Why not ${shown(other.text)}?`);
  assert.ok(await page.evaluate(() => document.activeElement.matches("#view h2")));
  const address = page.url();
  assert.ok(address.endsWith(`why=${at}%3A${other.id}`), address);
  const said = () => page.textContent(SENTENCE);
  await page.goBack();
  await page.waitForFunction((text) => document.querySelector("#view .sentence")?.textContent === text, sentence(own));
  await page.goBack();
  await page.waitForSelector("#view >> text=Why this token?");
  await page.goForward();
  await page.waitForSelector(SENTENCE);
  assert.equal(await said(), sentence(own));
  await page.click("#back");
  await page.waitForSelector("#view >> text=Why this token?");

  const second = await open(address.slice(harness.address.length));
  await second.page.waitForSelector(SENTENCE);
  assert.equal(await second.page.textContent(SENTENCE), sentence(causes));
  assert.equal(await second.page.textContent("#view h2"), `Why not ${shown(other.text)}?`);

  assert.deepEqual([...wrong, ...second.wrong], []);
  await context.close();
  await second.context.close();
});

test("who waits sees it and can cancel, and an answer that comes too late is not shown", async () => {
  const held = [];
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));
  await page.route("**/api/attribute", (route) => held.push(route));
  const ask = (nth) => page.locator(".pane .t:not(.p)").nth(nth).click().then(() => page.click("#view >> text=Why this token?"));
  const failed = () => page.waitForEvent("requestfailed", (request) => request.url().endsWith("/api/attribute"));

  await ask(2);
  assert.equal(await page.locator("#view progress").count(), 0);
  await page.waitForSelector("#view progress");
  await page.focus("#view >> text=Cancel");
  await Promise.all([failed(), page.keyboard.press("Enter")]);
  await page.waitForSelector("#view >> text=Why this token?");
  assert.equal(await page.locator("#causes").isHidden(), true);

  await ask(3);
  await page.waitForSelector("#view progress");
  await Promise.all([failed(), ask(4)]);
  await page.waitForSelector("#view progress");
  const title = await page.textContent("#view h2");
  await held[1].continue().catch(() => {});
  await held[2].continue();
  await page.waitForSelector(SENTENCE);
  assert.ok((await page.textContent(SENTENCE)).startsWith(title.slice("Why ".length, -1)));
  assert.equal(held.length, 3);

  await ask(5);
  await page.waitForSelector("#view progress");
  await Promise.all([failed(), page.click("#close")]);
  await page.waitForSelector("#view .nothing");

  assert.deepEqual(wrong, []);
  await context.close();
});

test("an error says what to do, and is asked again", async () => {
  const { page, context } = await open(link({ prompt: PROMPT }));
  let answer = { status: 429, json: { error: { message: "too many requests are waiting", code: "rate_limit_exceeded" } } };
  await page.route("**/api/attribute", (route) => (answer ? route.fulfill(answer) : route.continue()));
  await page.locator(".pane .t:not(.p)").nth(AT).click();
  await page.click("#view >> text=Why this token?");
  const says = async (words) => page.waitForFunction((text) => document.querySelector("#view .error")?.textContent.includes(text), words);

  await says("The server is busy with other requests. Try again in a few seconds.");
  for (const [code, words] of [["context_length_exceeded", "Ask about an earlier token."], ["time_out", "longer than this server allows"], [null, "There is no SAE to attribute to"]]) {
    answer = { status: 400, json: { error: { message: "there is no SAE to attribute to", code } } };
    await page.click("#view button:text-is('Try again')");
    await says(words);
  }
  assert.deepEqual(await violations(page), []);
  answer = null;
  await page.click("#view button:text-is('Try again')");
  await page.waitForSelector(SENTENCE);
  assert.ok(await page.evaluate(() => document.activeElement.matches("#view h2")));

  await context.close();
});

test("where there is no answer, the button is off and the reason is beside it", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, max_tokens: "8" }));
  const reason = async (on) => {
    const button = on.locator("#view button", { hasText: "Why this token?" });
    assert.ok(await button.isDisabled());
    assert.equal(await button.getAttribute("aria-describedby"), "why-not");
    return on.textContent("#why-not");
  };

  await page.locator(".pane .t").first().click();
  assert.match(await reason(page), /^This is the first token/);
  await page.locator(".pane .t >> nth=1").click();
  assert.ok(await page.locator("#view button", { hasText: "Why this token?" }).isEnabled());
  const run = JSON.parse((await downloaded(page, "#export")).text);
  const file = (name, change) => page.setInputFiles("#file", { name, mimeType: "application/json", buffer: Buffer.from(JSON.stringify({ ...run, ...change })) }).then(() => page.waitForFunction((text) => document.getElementById("notice").textContent.startsWith(`Opened from ${text}`), name));
  await file("theirs.json", { model: "another-model" });
  await page.locator(".pane .t >> nth=9").click();
  assert.match(await reason(page), /made with the model another-model/);
  await file("ours.json", {});
  await why(page, ".pane .t >> nth=9");
  assert.equal(await page.textContent(SENTENCE), sentence(await direct(run.texts[0].tokens, 9)));

  const bare = await open(link({ prompt: PROMPT, max_tokens: "4" }), { at: await harness.serve(["--model", join(root, "models/demo")]) });
  await bare.page.locator(".pane .t >> nth=5").click();
  assert.match(await reason(bare.page), /this server has no SAE/);

  assert.deepEqual([...wrong, ...bare.wrong], []);
  await context.close();
  await bare.context.close();
});

test("of a steered text the causes are said to be those without steering", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT, compare: "1", shade: HOOK }, [STEERED]));

  await why(page, ".pane.steered .t:not(.p) >> nth=4");
  assert.match(await page.textContent("#view .steered-note"), /^This text was steered\. The causes here are those of the model without steering\.$/);
  assert.ok(await page.locator(".pane.steered .t.cause").count() > 0);
  assert.equal(await page.locator(".pane.unsteered .t.cause").count(), 0);
  // Both texts are without shades, so that no colour is taken for a cause.
  assert.equal(await page.locator(`.pane.unsteered ${SHADED}`).first().evaluate((token) => getComputedStyle(token).backgroundColor), "rgba(0, 0, 0, 0)");
  await why(page, ".pane.unsteered .t:not(.p) >> nth=4");
  assert.equal(await page.locator("#view .steered-note").count(), 0);
  assert.equal(await page.locator(".pane.steered .t.cause").count(), 0);
  // With another strength, the text no longer has these tokens: the token at the same place is shown.
  await page.locator(".pane.steered .t:not(.p) >> nth=20").click();
  await page.click("#view >> text=Why this token?");
  await page.waitForSelector(SENTENCE);
  await again(page, () => page.fill("#specs input[type=number]", "60"));
  await page.waitForSelector("#view >> text=Why this token?");
  assert.equal(await page.locator(".t.cause").count(), 0);
  // Without the comparison, a token of the second text is that of the only one.
  await page.locator(".pane.unsteered .t:not(.p) >> nth=2").click();
  await again(page, () => page.uncheck("#compare"));
  assert.equal(await page.locator(".pane .t[aria-current]").count(), 1);
  assert.ok(await page.locator("#view >> text=Why this token?").isVisible());

  assert.deepEqual(wrong, []);
  await context.close();
});

test("in a chat the model's input before the answer is part of the question", async () => {
  const { page, context, wrong } = await open(link({ mode: "chat", max_tokens: "12", user: "Tell me a story about a cat." }));
  const tokens = await tokensOf(page);
  const at = tokens.filter(({ prompt }) => prompt).length + 3;

  await why(page, ".pane > .text .t >> nth=3");
  assert.equal(await page.textContent(SENTENCE), sentence(await direct(tokens, at)));
  await page.click(".read summary");
  assert.ok(await page.locator(".read .t.cause").count() > 0);
  await page.locator(`${ROWS} .after .token`).first().click();
  await page.waitForSelector("#view >> text=Why this token?");

  // An earlier answer's tokens are asked about too.
  await page.click("#close");
  await page.fill("#prompt", "And then?");
  await again(page, () => page.press("#prompt", "Enter"));
  await why(page, "#thread .t >> nth=3");
  assert.equal(await page.textContent(SENTENCE), sentence(await direct(tokens, at)));

  assert.deepEqual(wrong, []);
  await context.close();
});

test("everything works with the keyboard, and closing goes back to the token", async () => {
  const { page, context, wrong } = await open(link({ prompt: PROMPT }));

  await page.locator(".pane .t[tabindex='0']").focus();
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  assert.ok(await page.evaluate(() => document.activeElement.matches("#view h2")));
  for (let n = 0; n < 3 && !(await page.evaluate(() => document.activeElement.textContent === "Why this token?")); n++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForSelector(SENTENCE);
  assert.match(await page.evaluate(() => document.activeElement.textContent), /^Why .*\?$/);
  await page.click("#back");
  await page.waitForSelector("#view >> text=Why this token?");
  await page.keyboard.press("Escape");
  await page.waitForSelector("#view .nothing");
  assert.ok(await page.evaluate(() => document.activeElement.matches(".pane .t")));

  assert.deepEqual(wrong, []);
  await context.close();
});

for (const colorScheme of ["light", "dark"]) {
  for (const width of [1280, 390, 320]) {
    test(`axe finds nothing in the panel of causes, ${colorScheme}, ${width} px wide`, async () => {
      const { page, context, wrong } = await open(link({ prompt: PROMPT, shade: HOOK }), { viewport: { width, height: 844 }, colorScheme });
      const look = async (state) => {
        await page.screenshot({ path: join(harness.pictures, `why-${colorScheme}-${width}-${state}.png`) });
        assert.deepEqual(await violations(page), [], state);
        assert.equal(await overflow(page), 0, state);
        const wide = await page.locator("#view").evaluate((view) => view.scrollWidth - view.clientWidth);
        assert.equal(wide, 0, `${state}: the panel is too wide`);
      };
      await page.locator(".pane .t:not(.p)").nth(AT).click();
      await look("token");
      await page.click("#view >> text=Why this token?");
      await page.waitForSelector(SENTENCE);
      await look("causes");
      await page.click("#view >> text=All 20");
      await page.locator("#view").evaluate((view) => { view.scrollTop = view.scrollHeight; });
      await look("end");
      await again(page, () => page.locator(`${ROWS} .toggle`).first().click());
      await look("off");

      assert.deepEqual(wrong, []);
      await context.close();
    });
  }

  test(`text can be read on every tint, ${colorScheme}`, async () => {
    const { page, context } = await open(link({ prompt: PROMPT, max_tokens: "2" }), { colorScheme });

    const least = await page.evaluate(() => {
      const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
      const light = (...colours) => {
        for (const colour of colours) {
          canvas.fillStyle = colour;
          canvas.fillRect(0, 0, 1, 1);
        }
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const card = getComputedStyle(document.getElementById("output")).backgroundColor;
      const text = document.querySelector(".pane .text");
      text.classList.add("tinted");
      const ratios = [];
      for (const weight of [0.05, 0.3, 0.6, 1]) {
        for (const kind of ["t cause", "t p cause", "t cause against", "t p cause against", "t p cause against s12"]) {
          const span = document.createElement("span");
          span.className = kind;
          span.style.setProperty("--weight", weight);
          span.textContent = "x";
          text.firstElementChild.append(span);
          const style = getComputedStyle(span);
          const [back, ink] = [light(card, style.backgroundColor), light(card, style.backgroundColor, style.color)];
          ratios.push([(Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05), `${kind} ${weight} ${style.backgroundColor}`]);
        }
      }
      return { least: ratios.reduce((a, b) => (a[0] < b[0] ? a : b)), backgrounds: new Set(ratios.map(([, name]) => name.split(" ").slice(-4).join(" "))).size };
    });
    assert.ok(least.least[0] >= 4.5, least.least.join());
    assert.ok(least.backgrounds >= 8, "the tints differ");

    await context.close();
  });
}

