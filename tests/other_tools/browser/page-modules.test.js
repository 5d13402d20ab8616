// The page's own parsers, without a browser.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

/// Imports a module of the page. No package.json beside it marks it as a module, so it is passed as a data URL, as is each
/// module that it imports.
async function load(path) {
  return import(dataUrl(new URL(`../../../crates/server/page/${path}`, import.meta.url)));
}

function dataUrl(file) {
  const source = readFileSync(file, "utf8").replace(/from "(\.[^"]+\.js)"/g, (_, path) => `from ${JSON.stringify(dataUrl(new URL(path, file)))}`);
  return `data:text/javascript,${encodeURIComponent(source)}`;
}

const { EventParser } = await load("client/sse.js");
const { parseSpec, writeSpec } = await load("state/spec.js");
const { fromFragment, initial, toFragment } = await load("state/share.js");
const { fillIn } = await load("state/prompt.js");
const { level, scaleFor, valueOf } = await load("view/shade.js");
const { differences, words } = await load("state/diff.js");
const { mostActive } = await load("state/active.js");
const { obstacle, signed, weights } = await load("state/causes.js");
const { fluencyInWords, repeated } = await load("state/effect.js");

test("events are the same however the stream is cut", () => {
  const stream = new TextEncoder().encode('data: {"a":"é🐕"}\r\n\r\n: a comment\ndata: two\ndata:lines\n\nevent: x\rdata: cr\r\rdata\n\nid: 3\n\ndata: [DONE]\n\n');
  const expected = ['{"a":"é🐕"}', "two\nlines", "cr", "", "[DONE]"];

  for (let size = 1; size <= stream.length; size++) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < stream.length; at += size) events.push(...parser.push(stream.subarray(at, at + size)));
    assert.deepEqual(events, expected, `pieces of ${size} bytes`);
  }
});

test("an event that does not end is not given out", () => {
  const parser = new EventParser();

  assert.deepEqual(parser.push(new TextEncoder().encode("data: one\n\ndata: half\n")), ["one"]);
});

test("an intervention's written form is read and written back", () => {
  for (const text of ["blocks.3.hook_resid_post:1909:add:27", "blocks.2.hook_resid_post:417:multiply:-0.5@generated+special", "blocks.1.hook_mlp_out:7:ablate@0..5", "blocks.0.hook_attn_out:1:orthogonal:0.1:norm", "blocks.2.hook_resid_post:4:set:3 when blocks.1.hook_resid_post:12>2.5 with reconstruct", "3-resid_post:4:set_if_active:3@text[1]"]) {
    const spec = parseSpec(text);
    assert.ok(spec, text);
    assert.equal(writeSpec(spec), text);
  }
});

test("a share of the norm may be written in percent, and the hook point left out", () => {
  for (const [text, written] of [["1909:add:30%", "1909:add:0.3:norm"], ["blocks.3.hook_resid_post:7:orthogonal:12.5%@last", "blocks.3.hook_resid_post:7:orthogonal:0.125:norm@last"], ["3-resid_post:4:add:-7%", "3-resid_post:4:add:-0.07:norm"]]) {
    assert.equal(writeSpec(parseSpec(text)), written);
  }
  for (const text of ["1909:multiply:30%", "1909:set:30%", "1909:add:30%:raw", "1909:add:%", "1909:add:3%0%"]) assert.equal(parseSpec(text), null, text);
});

test("a text that is not an intervention on a feature is not read as one", () => {
  for (const text of ["", "417", "blocks.3.hook_resid_post:dog:add:3", "blocks.3.hook_resid_post:1:add", "blocks.3.hook_resid_post:1:add:x", "blocks.3.hook_resid_post:1:ablate:2", "blocks.3.hook_resid_post:1:grow:2", "blocks.3.hook_resid_post:-1:add:2", "blocks.3.hook_resid_post:1:constructor:2"]) {
    assert.equal(parseSpec(text), null, text);
  }
});

test("a state is the same after its link", () => {
  const spec = (text) => parseSpec(text);
  const story = { ...initial(), prompt: "A & b=c #d\n<img> é🐕 +1%", steer: [spec("blocks.3.hook_resid_post:1909:add:27"), spec("blocks.1.hook_resid_post:3:ablate@last when blocks.0.hook_resid_post:1>2")], compare: true, seed: 2 ** 53 - 1, temperature: 0, topK: 40, topP: 0.95, maxTokens: 7, shade: { hook: "blocks.3.hook_resid_post", feature: 1909 } };
  const chat = { ...initial(), mode: "chat", messages: [{ role: "system", content: "Be" }, { role: "user", content: "Hi" }, { role: "assistant", content: "" }, { role: "user", content: "a&user=b" }] };

  const views = [{ kind: "feature", hook: "blocks.3.hook_resid_post", feature: 1909 }, { kind: "token", text: 1, at: 17 }, { kind: "token", text: 0, at: 3 }, { kind: "why", text: 0, at: 3, other: null }, { kind: "why", text: 1, at: 12, other: 650 }].map((view) => ({ ...story, view }));
  for (const state of [story, chat, ...views]) assert.deepEqual(fromFragment(toFragment(state)), { state, unknown: [] });
});

test("a link's values out of range are named and not taken", () => {
  const { state, unknown } = fromFragment("#seed=-1&temperature=hot&top_p=2&max_tokens=1e99&steer=nonsense&colour=red&__proto__=1&feature=7&token=-3&mode=foo&compare=yes&shade=a+b+c");

  assert.deepEqual(state, initial());
  assert.deepEqual(unknown, ["-1", "hot", "2", "1e99", "nonsense", "colour", "__proto__", "7", "-3", "foo", "yes", "a b c"]);
  assert.deepEqual(fromFragment("#mode=story&compare=0").unknown, []);
});

test("a prompt's tokens have the characters that they are parts of", () => {
  const tokens = (texts) => texts.map((token) => ({ token, piece: token.includes("\ufffd") ? "" : token }));
  const filled = (texts, sent) => {
    const all = tokens(texts);
    fillIn(all, sent);
    return all.map(({ piece }) => piece);
  };

  assert.deepEqual(filled(["<|bos|>", "caf", "\ufffd", "\ufffd", " au"], ["café au"]), ["<|bos|>", "caf", "", "é", " au"]);
  assert.deepEqual(filled(["\ufffd", "\ufffd"], ["é"]), ["", "é"]);
  assert.deepEqual(filled(["<|user_start|>", "\ufffd", "\ufffd", "<|user_end|>", "<|assistant_start|>", "a", "<|assistant_end|>"], ["é", "a"]), ["<|user_start|>", "", "é", "<|user_end|>", "<|assistant_start|>", "a", "<|assistant_end|>"]);
  // A special token that is written in a text is a token of it, or characters.
  assert.deepEqual(filled(["<|bos|>", "a", "<|eos|>", "\ufffd", "\ufffd"], ["a<|eos|>é"]), ["<|bos|>", "a", "<|eos|>", "", "é"]);
  assert.deepEqual(filled(["<|bos|>", "<|", "bos", "|>", "\ufffd", "\ufffd"], ["<|bos|>é"]), ["<|bos|>", "<|", "bos", "|>", "", "é"]);
  // Where the tokens are not those of the text, nothing is made up.
  assert.deepEqual(filled(["x", "\ufffd"], ["é"]), ["x", ""]);
});

test("a scale ends at a round number at or above the largest value", () => {
  assert.deepEqual([0, 1, 1.01, 53.2, 60, 61, 0.0031, 999].map(scaleFor).map((value) => Number(value.toPrecision(6))), [1, 1, 1.2, 60, 60, 80, 0.004, 1000]);
});

test("shades grow with the value, from the first step on to the last", () => {
  const steps = [0, 0.001, 5, 10, 20].map((value) => level(value, 10));

  assert.deepEqual(steps, [0, 1, 6, 12, 12]);
  assert.deepEqual([0.001, 5, 10].map((value) => level(value, 10, true)), [1, 3, 12]);
  assert.equal(level(-5, 10), 6);
});

const tokensOf = (text) => (text.match(/ ?[^\s.,!]+|[.,!]|\s/g) ?? []).map((piece) => ({ piece, features: {}, token: piece }));

/** The marked phrases of two texts, in brackets. */
function marked(one, two) {
  const texts = [tokensOf(one), tokensOf(two)];
  const { marks } = differences(...texts);
  return texts.map((tokens, side) => tokens.map(({ piece }, at) => {
    const [on, before, after] = [at, at - 1, at + 1].map((n) => Boolean(marks[side][n]));
    return `${on && !before ? "[" : ""}${piece}${on && !after ? "]" : ""}`;
  }).join(""));
}

test("two texts differ by phrases, and not from the first difference on", () => {
  for (const [one, two, first, second] of [
    ["a b c d", "a b c d", "a b c d", "a b c d"],
    ["a little girl named Amy. She ran", "a little dog named Spot. Spot ran", "a little[ girl] named[ Amy].[ She] ran", "a little[ dog] named[ Spot].[ Spot] ran"],
    ["one two three", "one three", "one[ two] three", "one three"],
    ["one three", "one two three", "one three", "one[ two] three"],
    ["the end", "the end of it", "the end", "the end[ of it]"],
    ["", "new text", "", "[new text]"],
    // A few words in common between long changes are part of them.
    ["x a b c d the e f g h y", "x i j k l the m n o p y", "x[ a b c d the e f g h] y", "x[ i j k l the m n o p] y"],
  ]) assert.deepEqual(marked(one, two), [first, second]);
});

test("what two texts have in common is the same words in both, for texts of any kind", () => {
  let state = 7;
  const random = (most) => (state = (state * 1103515245 + 12345) % 2 ** 31) % most;
  for (let n = 0; n < 300; n++) {
    const [one, two] = [0, 1].map(() => Array.from({ length: random(60) }, () => "abcde.,\n"[random(8)]).join(random(2) ? " " : ""));
    const texts = [tokensOf(one), tokensOf(two)];
    const { marks, words: counts } = differences(...texts);
    const rest = texts.map((tokens, side) => tokens.filter((_, at) => !marks[side][at]).map(({ piece }) => piece.replace(/^ /, "")));
    assert.deepEqual(rest[0], rest[1], JSON.stringify([one, two]));
    assert.deepEqual(marks.map((some) => some.length), texts.map((some) => some.length));
    assert.ok(counts.every((count, side) => count <= words(texts[side]).length));
  }
});

test("long texts are compared in a moment", () => {
  const text = (words, change) => Array.from({ length: words }, (_, n) => (n % 97 === change ? "other" : `word${n % 801}`)).join(" ");
  const [one, two] = [tokensOf(text(9000, 5)), tokensOf(text(9000, 60))];
  const begun = performance.now();
  const { phrases } = differences(one, two);

  assert.ok(performance.now() - begun < 3000);
  assert.ok(phrases > 150 && phrases < 200, `${phrases} phrases`);
});

test("a word of several tokens is marked as a whole", () => {
  const pieces = (some) => some.map((piece) => ({ piece }));

  assert.deepEqual(words(pieces([" D", "og", "gy", ".", " caf", "", "é", "'s"])).map(({ from, to, text }) => [from, to, text]), [[0, 3, "Doggy"], [3, 4, "."], [4, 8, "café's"]]);
  assert.deepEqual(differences(pieces(["a", " D", "og"]), pieces(["a", " D", "ig"])).marks, [[false, true, true], [false, true, true]]);
});

test("the most active features are ranked by their sum, common ones last", () => {
  const token = (features) => ({ token: "x", features: { h: features } });
  const text = [token([[1, 9], [2, 5]]), token([[1, 9], [2, 6], [3, 4]]), token([[1, 9], [4, 7]]), token([[1, 9]])];

  const found = mostActive(text, (at) => at < 2).get("h");

  assert.deepEqual(found.map(({ index, total, max, tokens, at, common }) => [index, total, max, tokens, at, common]), [[2, 11, 6, 2, 1, false], [3, 4, 4, 1, 1, false], [1, 18, 9, 2, 0, true]]);
  assert.deepEqual(mostActive([{ token: "<|bos|>", features: { h: [[5, 99]] } }], () => true).get("h"), undefined);
});

test("a position weighs as much as its causes, and is against the token if their sum is", () => {
  const cause = (position, attribution) => ({ position, attribution });

  assert.deepEqual([...weights({ features: [cause(3, 2), cause(1, -3), cause(3, -1), cause(1, 1)] })], [[3, { weight: 0.75, against: false }], [1, { weight: 1, against: true }]]);
  assert.deepEqual([...weights({ features: [] })], []);
  assert.deepEqual([1.234, -0.1, 0.0123, -0.00049, 0].map(signed), ["+1.23", "−0.10", "+0.01", "−0.0005", "+0.00"]);
});

test("the causes of a token need an SAE, its model, and the tokens before it", () => {
  const about = { name: "demo", saes: [{}], model: { context: 3 } };
  const tokens = (n) => Array.from({ length: n }, () => ({}));

  assert.equal(obstacle(tokens(3), undefined, about), "");
  assert.equal(obstacle(tokens(2), { model: "demo" }, about), "");
  for (const [some, origin, to, says] of [
    [tokens(1), undefined, about, /first token/],
    [tokens(4), undefined, about, /context of 3 tokens/],
    [null, undefined, about, /no longer has the tokens/],
    [tokens(2), { model: "other" }, about, /model other/],
    [tokens(2), undefined, { ...about, saes: [] }, /no SAE/],
  ]) assert.match(obstacle(some, origin, to), says);
});

test("a fluent figure of a text that repeats itself is not left alone", () => {
  const text = (ids) => ids.map((id) => ({ id, token: `t${id}`, prompt: false }));
  const fluency = { nll: 1.2, unsteered_nll: 1, ratio: 1.2 };
  const [varied, loop] = [text(Array.from({ length: 40 }, (_, at) => at % 37)), text(Array.from({ length: 40 }, (_, at) => at % 3))];

  assert.equal(repeated(varied), 0);
  assert.equal(repeated(loop).toFixed(6), (34 / 37).toFixed(6));
  assert.equal(repeated([...text([1, 2, 3]), ...loop.map((token) => ({ ...token, prompt: true }))]), 0, "only what was generated");
  assert.deepEqual(fluencyInWords(fluency, varied), { words: "Fluency 1.2× (1 → 1.2 nats per token); broken above 2×.", broken: false });
  assert.deepEqual(fluencyInWords(fluency, loop), { words: "Fluency 1.2× (1 → 1.2 nats per token); broken above 2×. The text repeats itself: 92 % of its sequences of 4 tokens have occurred before.", broken: true });
});

test("a steered feature shades by its value after the intervention, others by their activation", () => {
  const token = { logprob: -2, features: { h: [[1, 9], [2, 5]] }, steered: { h: [[2, 30], [7, 12]] } };

  assert.deepEqual([[1], [2], [7], [3], [null]].map(([feature]) => valueOf(token, { hook: "h", feature })), [9, 30, 12, 0, 9]);
  assert.equal(valueOf(token, { hook: "surprise", feature: null }), 2);
  assert.equal(valueOf(token, { hook: "off", feature: null }), 0);
});

test("the page and the dashboards hide the same characters, apart from the line break", () => {
  const hidden = (path) => {
    const [, pattern] = /= (\/\[.*\/gu);/.exec(readFileSync(new URL(`../../../crates/${path}`, import.meta.url), "utf8"));
    return new RegExp(pattern.slice(1, -3), "u");
  };
  const [page, dashboard] = [hidden("server/page/view/dom.js"), hidden("dashboard/src/page/draw.js")];
  const differ = [];
  for (let code = 0; code <= 0x10ffff; code++) {
    const character = String.fromCodePoint(code);
    if (page.test(character) !== dashboard.test(character)) differ.push(code);
  }

  assert.deepEqual(differ, [10]);
});
