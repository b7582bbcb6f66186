// graphile-worker and pg-boss as queues of no-ops: node queue_node.cjs PEER COMMAND DSN COUNT.
// $BENCH_NODE_HOME holds node_modules; $BATCH and $CONCURRENCY choose pg-boss's worker.
// graphile-worker runs with the settings of its own performance test.
const fs = require("fs");
const path = require("path");
const { createRequire } = require("module");

const load = createRequire(path.join(process.env.BENCH_NODE_HOME, "index.js"));
const [, , peer, command, dsn, countText] = process.argv;
const count = Number(countText);
const marks = process.env.BENCH_MARKS;

// CLOCK_MONOTONIC, as Python's time.monotonic().
const now = () => Number(process.hrtime.bigint()) / 1e9;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let started = false;
function handlerStarted(sentAt) {
  if (!marks) return;
  const at = now();
  if (!started) {
    started = true;
    fs.writeFileSync(`${marks}.first.${process.pid}`, String(at));
  }
  if (sentAt) fs.appendFileSync(`${marks}.latency.${process.pid}`, `${at - sentAt}\n`);
}

async function inThousands(send) {
  for (let start = 0; start < count; start += 1000) await send(Math.min(1000, count - start));
}

async function oneByOne(send) {
  for (let i = 0; i < count; i++) {
    await send(now());
    await sleep(50);
  }
}

async function graphile() {
  const { run, runMigrations, makeWorkerUtils, Logger } = load("graphile-worker");
  const logger = new Logger(() => () => {});
  const connection = { connectionString: dsn, logger };
  if (command === "setup") return runMigrations(connection);
  if (command === "work") {
    const worker = {
      connectionString: dsn,
      concurrentJobs: 24,
      maxPoolSize: 25,
      localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    };
    const taskList = { nothing: (payload) => handlerStarted(payload.sentAt) };
    const runner = await run({ preset: { worker }, logger, noHandleSignals: true, taskList });
    return runner.promise;
  }
  const utils = await makeWorkerUtils(connection);
  const job = (sentAt) => ({ identifier: "nothing", payload: { sentAt } });
  if (command === "enqueue") {
    await inThousands((size) => utils.addJobs(Array.from({ length: size }, () => job(0))));
  } else {
    await oneByOne((sentAt) => utils.addJob("nothing", { sentAt }));
  }
  await utils.release();
}

async function pgboss() {
  const loaded = load("pg-boss");
  const PgBoss = loaded.PgBoss || loaded.default || loaded;
  const options = { connectionString: dsn };
  if (command === "work") options.useListenNotify = true;
  const boss = new PgBoss(options);
  boss.on("error", (error) => console.error(error.message));
  await boss.start();
  if (command === "setup") {
    await boss.createQueue("nothing", { notify: true, retryLimit: 0 });
  } else if (command === "work") {
    const worker = {
      batchSize: Number(process.env.BATCH || 500),
      localConcurrency: Number(process.env.CONCURRENCY || 2),
      pollingIntervalSeconds: 0.5,
      burstWhenBatchFull: true,
    };
    await boss.work("nothing", worker, async (jobs) => {
      for (const job of jobs) handlerStarted(job.data.sentAt);
    });
    return new Promise(() => {});
  } else if (command === "enqueue") {
    const jobs = (size) => Array.from({ length: size }, () => ({ data: { sentAt: 0 } }));
    await inThousands((size) => boss.insert("nothing", jobs(size)));
  } else {
    await oneByOne((sentAt) => boss.send("nothing", { sentAt }));
  }
  await boss.stop({ graceful: false });
}

({ graphile, pgboss })[peer]().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
