# mypy: disable-error-code="import-not-found, untyped-decorator, misc"
"""pgqueuer as a queue of no-ops: one manager with batches of 100 drains fastest, five with 10 are
its own benchmark's defaults; $MANAGERS and $BATCH choose."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from benchmarks.tools import marks

COMMAND, DSN, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])
MANAGERS, BATCH = int(os.environ.get("MANAGERS", "1")), int(os.environ.get("BATCH", "100"))


async def connect() -> Any:
    return Queries(AsyncpgDriver(await asyncpg.connect(DSN)))


async def work() -> None:
    managers = []
    for _ in range(MANAGERS):
        queries = await connect()
        manager = PgQueuer(queries.driver, queries=queries)

        @manager.entrypoint("nothing")
        async def nothing(message: Any) -> None:
            marks.handler_started(float(message.payload))

        managers.append(manager.run(batch_size=BATCH))
    await asyncio.gather(*managers)


async def main() -> None:
    if COMMAND == "work":
        await work()
        return
    queries = await connect()
    if COMMAND == "setup":
        await queries.install()
    elif COMMAND == "enqueue":
        for start in range(0, COUNT, 1000):
            size = min(1000, COUNT - start)
            await queries.enqueue(["nothing"] * size, [b"0"] * size, [0] * size)
    else:
        for _ in range(COUNT):
            await queries.enqueue("nothing", repr(time.monotonic()).encode(), 0)
            await asyncio.sleep(0.05)


uvloop.run(main())
