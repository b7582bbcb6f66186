# mypy: disable-error-code="import-not-found, untyped-decorator, misc"
"""procrastinate as a queue of no-ops, with the concurrency that its production guide uses."""

from __future__ import annotations

import asyncio
import sys
import time

import procrastinate

from benchmarks.tools import marks

COMMAND, DSN, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=DSN))


@app.task(queue="bench", name="nothing")
async def nothing(sent_at: float) -> None:
    marks.handler_started(sent_at)


async def main() -> None:
    async with app.open_async():
        if COMMAND == "setup":
            await app.schema_manager.apply_schema_async()
        elif COMMAND == "enqueue":
            for start in range(0, COUNT, 1000):
                size = min(1000, COUNT - start)
                await nothing.batch_defer_async(*[{"sent_at": 0}] * size)
        elif COMMAND == "send":
            for _ in range(COUNT):
                await nothing.defer_async(sent_at=time.monotonic())
                await asyncio.sleep(0.05)
        else:
            await app.run_worker_async(
                queues=["bench"], concurrency=30, install_signal_handlers=False
            )


asyncio.run(main())
