// The Vercel AI SDK with its OpenAI provider, pointed at the server.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateText, streamText } from "ai";
import { collected, fleet, killTheWriter, made, main, refused, server, words } from "./harness.mjs";

// The provider has no setting for a query: it is put on by its fetch.
function model(url, { query = "", headers } = {}) {
  const withQuery = (input, init) => fetch(`${input}${query}`, init);
  return createOpenAI({ baseURL: url, apiKey: "-", headers, fetch: withQuery }).responses("m");
}

// Everything a stream brings; it throws where the SDK has found an error in it.
async function streamed(options) {
  const errors = [];
  const result = streamText({ ...options, onError: ({ error }) => errors.push(error) });
  const parts = await collected(result.fullStream);
  return { result, parts, errors, kinds: parts.map((part) => part.type) };
}

server("blocking", async (url) => {
  const { text, finishReason, usage } = await generateText({
    model: model(url),
    system: "Be brief.",
    prompt: "text 10",
  });
  assert.equal(text, words(10));
  assert.equal(finishReason, "stop");
  assert.ok(usage);
});

server("stream", async (url) => {
  const { result, parts, errors } = await streamed({ model: model(url), prompt: "text 10 0.05" });
  assert.deepEqual(errors, []);
  assert.equal(await result.text, words(10));
  assert.equal(await result.finishReason, "stop");
  assert.equal(parts.filter((part) => part.type === "text-delta").length, 10);
});

server("blocking_that_is_silent_for_long_is_kept_alive", async (url) => {
  assert.equal((await generateText({ model: model(url), prompt: "silent 1" })).text, "at last");
});

server("reasoning", async (url) => {
  const { result, errors } = await streamed({ model: model(url), prompt: "reasoning" });
  assert.deepEqual(errors, []);
  assert.equal(await result.reasoningText, "First, then.");
  assert.equal(await result.text, "So it is.");
  const blocking = await generateText({ model: model(url), prompt: "reasoning" });
  assert.equal(blocking.reasoningText, "First, then.");
});

server("relay_and_odd_characters", async (url) => {
  for (const [prompt, text] of [
    ["relay", "From resp_inner1. From resp_inner2. "],
    ["odd", "nul \0 line\r\n\u2028\u2029\u0085 data: [DONE]\n\n: x \u{1f600} end"],
    ["nothing", ""],
  ]) {
    const { result, errors } = await streamed({ model: model(url), prompt });
    assert.deepEqual(errors, []);
    assert.equal(await result.text, text);
    assert.equal((await generateText({ model: model(url), prompt })).text, text);
  }
});

server("executed_tools_through_the_projection", async (url) => {
  const asked = { model: model(url, { query: "?tools=mcp_call" }), prompt: "tools" };
  const { result, errors, kinds } = await streamed(asked);
  assert.deepEqual(errors, []);
  assert.equal(await result.finishReason, "stop");
  assert.equal(kinds.filter((kind) => kind === "tool-call").length, 2);
  assert.equal(kinds.filter((kind) => kind === "tool-result").length, 2);
  const text = "Let me see. The tools said 1 and 2.";
  assert.equal(await result.text, text);
  const blocking = await generateText(asked);
  assert.equal(blocking.text, text);
  assert.equal(blocking.toolResults.length, 2);
});

server("turns_by_item_reference", async (url) => {
  let bodies = [];
  const spy = (input, init) => {
    bodies.push(init.body);
    return fetch(input, init);
  };
  const provider = createOpenAI({ baseURL: url, apiKey: "-", fetch: spy });
  const options = { model: provider.responses("m") };
  for (const ask of [generateText, async (asked) => (await streamed(asked)).result]) {
    bodies = [];
    const messages = [{ role: "user", content: "I am Ann." }];
    const first = await ask({ ...options, messages });
    messages.push(...(await first.response).messages, { role: "user", content: "memory" });
    const second = await ask({ ...options, messages });
    assert.match(bodies[1], /"item_reference"/);
    assert.equal(await second.text, "user:I am Ann. | assistant:I am Ann. | user:memory");
    messages.push(...(await second.response).messages, { role: "user", content: "memory" });
    const third = await ask({ ...options, messages });
    assert.match(await third.text, /\| assistant:user:I am Ann\..* \| user:memory$/);
  }
});

server("failures", async (url) => {
  for (const when of ["before", "after"]) {
    const tag = randomUUID();
    const asked = {
      model: model(url),
      prompt: `fail ${when}`,
      maxRetries: 0,
      providerOptions: { openai: { metadata: { tag } } },
    };
    const error = await refused(APICallError, generateText(asked));
    assert.equal(error.statusCode, 500);
    assert.match(error.message, /ValueError/);
    const { parts, errors } = await streamed(asked);
    assert.equal(errors.length, 1, JSON.stringify(parts));
    assert.equal((await made(url, tag)).length, 2);
  }
});

server("failure_after_a_long_silence", async (url) => {
  const asked = { model: model(url), prompt: "fail late", maxRetries: 0 };
  assert.match((await refused(APICallError, generateText(asked))).message, /ValueError/);
});

server("abort_cancels_the_response", async (url) => {
  const tag = randomUUID();
  const controller = new AbortController();
  const result = streamText({
    model: model(url),
    prompt: "forever",
    abortSignal: controller.signal,
    providerOptions: { openai: { metadata: { tag } } },
    onError: () => {},
  });
  for await (const part of result.fullStream) {
    if (part.type === "text-delta") controller.abort();
    if (part.type === "abort") break;
  }
  const deadline = Date.now() + 20_000;
  let response;
  do {
    [response] = await made(url, tag);
    assert.ok(Date.now() < deadline, response.status);
  } while (response.status !== "cancelled");
});

server("mistakes", async (url) => {
  const messages = [
    {
      role: "assistant",
      content: [{ type: "text", text: "x", providerOptions: { openai: { itemId: "msg_unknown" } } }],
    },
    { role: "user", content: "memory" },
  ];
  const asked = { model: model(url), messages };
  const error = await refused(APICallError, generateText(asked));
  assert.equal(error.statusCode, 400);
  assert.match(error.message, /msg_unknown/);
});

fleet("worker_killed_while_the_sdk_reads", async ({ front }) => {
  // Otherwise the front, which has no worker, would have the agent stopped by a disconnect.
  for (const query of ["", "?resume_marker=in_progress"]) {
    const errors = [];
    let [said, killed] = ["", false];
    const result = streamText({
      model: model(front, { query }),
      prompt: "who 5 0.02",
      onError: ({ error }) => errors.push(error),
    });
    for await (const part of result.fullStream) {
      if (part.type !== "text-delta") continue;
      said += part.text;
      killed ||= killTheWriter(said);
    }
    assert.deepEqual(errors, []);
    assert.match(said, /^pid \d+ .*pid \d+ w0 w1 w2 w3 w4 $/);
    assert.equal(await result.finishReason, "stop");
  }
});

await main();
