// What the scripts share: scenarios by name, each run once, a line of JSON about each.
import assert from "node:assert/strict";

const scenarios = { server: [], fleet: [] };

// A scenario for one server; it is given the server's URL.
export const server = (name, run) => scenarios.server.push([name, run]);
// A scenario that kills the process which runs its response; it is given the setting.
export const fleet = (name, run) => scenarios.fleet.push([name, run]);

export async function main() {
  const setting = JSON.parse(process.argv[3]);
  for (const [name, run] of scenarios[process.argv[2]]) {
    const began = performance.now();
    let error = null;
    try {
      await run(setting.url ?? setting);
    } catch (exc) {
      error = String(exc?.stack ?? exc) + (exc?.cause ? `\ncause: ${exc.cause.stack}` : "");
    }
    console.log(JSON.stringify({ scenario: name, error, seconds: (performance.now() - began) / 1000 }));
  }
  process.exit(0);
}

export async function collected(iterable) {
  const all = [];
  for await (const one of iterable) all.push(one);
  return all;
}

export const words = (count) => Array.from({ length: count }, (_, n) => `w${n} `).join("");

export const textOf = (events) =>
  events
    .filter((event) => event.type === "response.output_text.delta")
    .map((event) => event.delta)
    .join("");

export function assertGapless(events) {
  assert.deepEqual(
    events.map((event) => event.sequence_number),
    events.map((_, index) => index),
  );
}

// The exception of this class that the promise is rejected with.
export async function refused(kind, promise) {
  try {
    await promise;
  } catch (exc) {
    assert.ok(exc instanceof kind, exc.stack);
    return exc;
  }
  assert.fail(`no ${kind.name}`);
}

// The responses that were made with this metadata.
export async function made(url, tag) {
  return (await (await fetch(`${url}/responses?metadata.tag=${tag}`)).json()).data;
}

// SIGKILL the process that has introduced itself, once it has said a few words.
export function killTheWriter(said) {
  const found = /^pid (\d+) (?:w\d+ ){4}/.exec(said);
  if (found) process.kill(Number(found[1]), "SIGKILL");
  return Boolean(found);
}

// The first one that answers: another scenario may have killed the others.
export async function living(urls) {
  for (const url of urls) {
    try {
      await fetch(`${url}/health`);
      return url;
    } catch {}
  }
  assert.fail("all workers are dead");
}
