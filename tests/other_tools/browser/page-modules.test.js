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
const { level, scaleFor } = await load("view/shade.js");

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

test("a text that is not an intervention on a feature is not read as one", () => {
  for (const text of ["", "417", "blocks.3.hook_resid_post:dog:add:3", "blocks.3.hook_resid_post:1:add", "blocks.3.hook_resid_post:1:add:x", "blocks.3.hook_resid_post:1:ablate:2", "blocks.3.hook_resid_post:1:grow:2", "blocks.3.hook_resid_post:-1:add:2", "blocks.3.hook_resid_post:1:constructor:2"]) {
    assert.equal(parseSpec(text), null, text);
  }
});

test("a state is the same after its link", () => {
  const spec = (text) => parseSpec(text);
  const story = { ...initial(), prompt: "A & b=c #d\n<img> é🐕 +1%", steer: [spec("blocks.3.hook_resid_post:1909:add:27"), spec("blocks.1.hook_resid_post:3:ablate@last when blocks.0.hook_resid_post:1>2")], compare: true, seed: 2 ** 53 - 1, temperature: 0, topK: 40, topP: 0.95, maxTokens: 7, shade: { hook: "blocks.3.hook_resid_post", feature: 1909 } };
  const chat = { ...initial(), mode: "chat", messages: [{ role: "system", content: "Be" }, { role: "user", content: "Hi" }, { role: "assistant", content: "" }, { role: "user", content: "a&user=b" }] };

  for (const state of [story, chat]) assert.deepEqual(fromFragment(toFragment(state)), { state, unknown: [] });
});

test("a link's values out of range are named and not taken", () => {
  const { state, unknown } = fromFragment("#seed=-1&temperature=hot&top_p=2&max_tokens=1e99&steer=nonsense&colour=red&__proto__=1");

  assert.deepEqual(state, initial());
  assert.deepEqual(unknown, ["-1", "hot", "2", "1e99", "nonsense", "colour", "__proto__"]);
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
