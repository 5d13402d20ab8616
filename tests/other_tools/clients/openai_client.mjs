// OpenAI's Node client against the server.
//
//     NANOSCOPE_BINARY=target/debug/nanoscope npm --prefix tests/other_tools/clients test

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import OpenAI, { BadRequestError, NotFoundError } from "openai";

const HOOK = "blocks.3.hook_resid_post";
const PROMPT = "Once upon a time, there was a";

/** `nanoscope serve` with the demo, and its address. */
async function serve() {
  const binary = process.env.NANOSCOPE_BINARY ?? "nanoscope";
  const server = spawn(binary, ["serve", "--port", "0", "--log", "warn"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: server.stdout })) {
    const address = line.match(/http:\/\/[^/\s]+/)?.[0];
    if (address) return { server, address };
  }
  throw new Error(`${binary} said no address`);
}

const { server, address } = await serve();
try {
  const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "none needed", maxRetries: 0 });

  const models = await client.models.list();
  assert.deepEqual(models.data.map((model) => model.id), ["demo"]);

  const ask = { model: "demo", prompt: PROMPT, max_tokens: 10, temperature: 0 };
  const whole = await client.completions.create({ ...ask, logprobs: 1 });
  assert.equal(whole.choices[0].finish_reason, "length");
  assert.equal(whole.choices[0].logprobs.tokens.join(""), whole.choices[0].text);

  let text = "";
  const positions = [];
  const stream = await client.completions.create({
    ...ask,
    stream: true,
    nanoscope: { track: [HOOK], top: 4 },
  });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.text ?? "";
    if (chunk.nanoscope?.position !== undefined) {
      positions.push(chunk.nanoscope.position);
      assert.ok(chunk.nanoscope.features[HOOK].length > 0);
    }
  }
  assert.equal(text, whole.choices[0].text);
  assert.deepEqual(positions, Array.from({ length: 10 }, (_, i) => positions[0] + i));

  const messages = [{ role: "user", content: "Tell me about a dog." }];
  const chat = { model: "demo", messages, max_tokens: 8, seed: 3 };
  const answer = await client.chat.completions.create({ ...chat, logprobs: true, top_logprobs: 2 });
  assert.equal(answer.choices[0].logprobs.content[0].top_logprobs.length, 2);
  const runner = client.chat.completions.stream(chat);
  assert.equal(await runner.finalContent(), answer.choices[0].message.content);

  await assert.rejects(client.completions.create({ ...ask, temperature: -1 }), BadRequestError);
  await assert.rejects(client.completions.create({ ...ask, model: "gpt-4o" }), NotFoundError);
} finally {
  server.kill();
}
console.log("the openai client for Node is served");
