// openai-node: raw iteration and the .stream() helper, in every mode.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import OpenAI from "openai";
import {
  assertGapless,
  collected,
  fleet,
  killTheWriter,
  living,
  made,
  main,
  refused,
  server,
  textOf,
  words,
} from "./harness.mjs";

const connect = (url, options = {}) =>
  new OpenAI({ baseURL: url, apiKey: "-", timeout: 30_000, ...options });
const replay = async (client, id) => collected(await client.responses.retrieve(id, { stream: true }));

async function poll(client, response) {
  while (["queued", "in_progress"].includes(response.status)) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    response = await client.responses.retrieve(response.id);
  }
  return response;
}

server("blocking", async (url) => {
  const response = await connect(url).responses.create({ model: "m", input: "text 10" });
  assert.equal(response.status, "completed");
  assert.equal(response.output_text, words(10));
});

server("blocking_that_is_silent_for_long_is_kept_alive", async (url) => {
  const response = await connect(url).responses.create({ model: "m", input: "silent 1" });
  assert.equal(response.output_text, "at last");
});

server("stream", async (url) => {
  const client = connect(url);
  const asked = { model: "m", input: "text 10 0.05", stream: true };
  const events = await collected(await client.responses.create(asked));
  assertGapless(events);
  assert.equal(textOf(events), words(10));
  assert.equal(events.at(-1).type, "response.completed");
  assert.deepEqual(await replay(client, events[0].response.id), events);
});

server("stream_helper", async (url) => {
  const stream = connect(url).responses.stream({ model: "m", input: "text 10" });
  const snapshots = [];
  stream.on("response.output_text.delta", (event) => snapshots.push(event.snapshot));
  const final = await stream.finalResponse();
  assert.equal(final.output_text, words(10));
  assert.equal(snapshots.at(-1), words(10));
});

server("background_poll", async (url) => {
  const client = connect(url);
  const asked = { model: "m", input: "text 10 0.02", background: true };
  const response = await client.responses.create(asked);
  assert.ok(["queued", "in_progress"].includes(response.status));
  assert.equal((await poll(client, response)).output_text, words(10));
});

server("background_stream_helper", async (url) => {
  const client = connect(url);
  const stream = client.responses.stream({ model: "m", input: "text 10", background: true });
  const final = await stream.finalResponse();
  assert.equal((await poll(client, final)).output_text, words(10));
});

server("disconnect_after_every_event_and_resume", async (url) => {
  const client = connect(url);
  for (let k = 0, total = Infinity; k < total; k++) {
    const asked = { model: "m", input: "text 5 0.01", background: true, stream: true };
    const seen = [];
    for await (const event of await client.responses.create(asked)) {
      seen.push(event);
      if (seen.length > k) break;
    }
    const id = seen[0].response.id;
    const query = { stream: true, starting_after: seen.at(-1).sequence_number };
    seen.push(...(await collected(await client.responses.retrieve(id, query))));
    assertGapless(seen);
    assert.deepEqual(seen, await replay(client, id));
    assert.equal(textOf(seen), words(5));
    total = seen.length;
  }
});

server("stream_helper_attaches_to_a_response", async (url) => {
  const client = connect(url);
  const asked = { model: "m", input: "text 10 0.02", background: true };
  const { id } = await client.responses.create(asked);
  const stream = client.responses.stream({ response_id: id, starting_after: 3 });
  const events = await collected(stream);
  assert.equal(events[0].sequence_number, 4);
  assert.equal((await stream.finalResponse()).output_text, words(10));
});

server("cancel", async (url) => {
  const client = connect(url);
  const stream = client.responses.stream({ model: "m", input: "forever", background: true });
  const seen = [];
  for await (const event of stream) {
    seen.push(event);
    if (seen.length === 8) {
      const cancelled = await client.responses.cancel(seen[0].response.id);
      assert.equal(cancelled.status, "cancelled");
      assert.deepEqual(await client.responses.cancel(cancelled.id), cancelled);
    }
  }
  assert.equal(seen.at(-1).type, "response.incomplete");
  assert.equal(seen.at(-1).response.status, "cancelled");
  const foreground = await client.responses.create({ model: "m", input: "text 1" });
  const error = await refused(OpenAI.BadRequestError, client.responses.cancel(foreground.id));
  assert.match(error.message, /background=true/);
});

server("delete", async (url) => {
  const { responses } = connect(url);
  const { id } = await responses.create({ model: "m", input: "forever", background: true });
  await responses.delete(id);
  for (const call of [
    () => responses.retrieve(id),
    () => responses.retrieve(id, { stream: true }),
    () => responses.cancel(id),
    () => responses.delete(id),
    () => responses.inputItems.list(id),
  ]) {
    assert.match((await refused(OpenAI.NotFoundError, call())).message, new RegExp(id));
  }
});

server("failures_run_the_handler_once", async (url) => {
  const client = connect(url);
  for (const when of ["before", "after"]) {
    const tag = randomUUID();
    const asked = { model: "m", input: `fail ${when}`, metadata: { tag } };
    const error = await refused(OpenAI.InternalServerError, client.responses.create(asked));
    assert.match(error.message, /ValueError/);
    assert.ok(error.requestID ?? error.headers.get("x-request-id"));
    assert.equal((await made(url, tag)).length, 1);

    const events = await collected(await client.responses.create({ ...asked, stream: true }));
    const [flat, failed] = events.slice(-2);
    assert.deepEqual([flat.type, flat.code], ["error", "server_error"]);
    assert.equal(failed.type, "response.failed");
    assert.equal((await made(url, tag)).length, 2);

    const helper = client.responses.stream({ model: "m", input: `fail ${when}` });
    const thrown = await helper.finalResponse().catch((exc) => exc); // 6.x throws the bare event
    assert.match(thrown.message, /ValueError/);
    const background = await client.responses.create({ ...asked, background: true });
    assert.equal((await poll(client, background)).error.code, "server_error");
  }
});

server("failure_after_a_long_silence", async (url) => {
  const response = await connect(url).responses.create({ model: "m", input: "fail late" });
  assert.deepEqual([response.status, response.error.code], ["failed", "server_error"]);
});

server("input_items_are_paged", async (url) => {
  const client = connect(url);
  const input = [0, 1, 2, 3, 4].map((n) => ({ role: "user", content: `number ${n}` }));
  const { id } = await client.responses.create({ model: "m", input });
  for (const order of ["asc", "desc"]) {
    const items = await collected(client.responses.inputItems.list(id, { limit: 2, order }));
    const wanted = order === "asc" ? input : [...input].reverse();
    assert.deepEqual(
      items.map((item) => item.content),
      wanted.map((item) => item.content),
    );
  }
});

server("tools", async (url) => {
  const pair = ["function_call", "function_call_output"];
  for (const [tools, kinds] of [
    ["function_call", ["message", ...pair, ...pair, "message"]],
    ["mcp_call", ["message", "mcp_call", "mcp_call", "message"]],
  ]) {
    const client = connect(url, { defaultQuery: { tools } });
    const stream = client.responses.stream({ model: "m", input: "tools" });
    const final = await stream.finalResponse();
    assert.deepEqual(final.output.map((item) => item.type), kinds);
    const blocking = await client.responses.create({ model: "m", input: "tools" });
    assert.deepEqual(blocking.output.map((item) => item.type), kinds);
  }
});

server("what_agents_yield", async (url) => {
  const client = connect(url);
  for (const [input, kinds, text] of [
    ["reasoning", ["reasoning", "message"], "So it is."],
    ["relay", ["message", "message"], "From resp_inner1. From resp_inner2. "],
    ["nothing", [], ""],
    ["big 1000000", ["message"], "x".repeat(1_000_000)],
    ["odd", ["message"], "nul \0 line\r\n\u2028\u2029\u0085 data: [DONE]\n\n: x \u{1f600} end"],
  ]) {
    const final = await client.responses.stream({ model: "m", input }).finalResponse();
    assert.deepEqual(final.output.map((item) => item.type), kinds);
    assert.equal(final.output_text, text);
    assert.equal((await client.responses.create({ model: "m", input })).output_text, text);
  }
});

server("turns_follow_each_other", async (url) => {
  const { responses } = connect(url);
  const first = await responses.create({ model: "m", input: "My name is Ann." });
  const asked = { model: "m", input: "memory", previous_response_id: first.id };
  const second = await responses.create(asked);
  const wanted = "user:My name is Ann. | assistant:My name is Ann. | user:memory";
  assert.equal(second.output_text, wanted);
});

server("mistakes", async (url) => {
  const { responses } = connect(url);
  const id = `resp_${"0".repeat(32)}`;
  assert.match((await refused(OpenAI.NotFoundError, responses.retrieve(id))).message, /not found/);
  await refused(OpenAI.NotFoundError, responses.retrieve(id, { stream: true }));
  const error = await refused(OpenAI.BadRequestError, responses.create({ model: "m", input: 3 }));
  assert.deepEqual([error.param, error.code], ["input", "invalid_type"]);
});

async function checkSecondAttempt(client, id) {
  const log = await replay(client, id);
  assertGapless(log);
  const kinds = log.map((event) => event.type);
  assert.equal(kinds.filter((kind) => kind === "response.resumed").length, 1);
  assert.match(log.at(-1).response.output_text ?? textOf(log), /w0 w1 w2 w3 w4 $/);
  assert.equal(log.at(-1).response.attempt_number, 2);
}

// The helper of openai-node refuses event types it does not know, `response.resumed` among them.
fleet("worker_killed_while_the_helper_reads", async ({ front }) => {
  const client = connect(front, { defaultQuery: { resume_marker: "in_progress" } });
  const stream = client.responses.stream({ model: "m", input: "who 5 0.02", background: true });
  const seen = [];
  let killed = false;
  for await (const event of stream) {
    seen.push(event);
    killed ||= killTheWriter(textOf(seen));
  }
  const final = await stream.finalResponse();
  assertGapless(seen);
  assert.match(final.output_text, /^pid \d+ w0 w1 w2 w3 w4 $/);
  await checkSecondAttempt(connect(front), final.id);
});

fleet("process_killed_while_a_client_reads_from_it", async ({ front, workers }) => {
  const seen = [];
  let killed = false;
  try {
    const victim = connect(await living(workers), { maxRetries: 0 });
    const asked = { model: "m", input: "who 5 0.02", background: true, stream: true };
    for await (const event of await victim.responses.create(asked)) {
      seen.push(event);
      killed ||= killTheWriter(textOf(seen));
    }
  } catch (exc) {
    assert.ok(killed, exc.stack);
  }
  const { id } = seen[0].response;
  const starting_after = seen.at(-1).sequence_number;
  const client = connect(front, { defaultQuery: { resume_marker: "in_progress" } });
  const stream = client.responses.stream({ response_id: id, starting_after });
  const rest = await collected(stream);
  assertGapless([...seen, ...rest]);
  assert.match((await stream.finalResponse()).output_text, /^pid \d+ w0 w1 w2 w3 w4 $/);
  const raw = connect(front).responses;
  const again = await collected(await raw.retrieve(id, { stream: true, starting_after }));
  assert.deepEqual([...seen, ...again], await replay(connect(front), id));
  await checkSecondAttempt(connect(front), id);
});

await main();
