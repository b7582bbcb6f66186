# mypy: disable-error-code="import-not-found, untyped-decorator, misc"
"""dbos write_stream: python -m benchmarks.peers.dbos_streams DSN SECONDS STREAMS...

Async workflows in one process write from within a step, which is the faster of the two ways.
Prints {"<streams>": events/s}, from the first write to the end of the last workflow.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from dbos import DBOS

PAD = "x" * 250
firsts: list[float] = []
counts: list[int] = []


@DBOS.step()
async def write(seconds: float) -> None:
    first = time.monotonic()
    count = 0
    while (now := time.monotonic()) < first + seconds:
        await DBOS.write_stream_async("events", {"at": now, "number": count, "pad": PAD})
        count += 1
    firsts.append(first)
    counts.append(count)


@DBOS.workflow()
async def stream(seconds: float) -> None:
    await write(seconds)
    await DBOS.close_stream_async("events")


async def rate(streams: int, seconds: float) -> float:
    firsts.clear()
    counts.clear()
    handles = [await DBOS.start_workflow_async(stream, seconds) for _ in range(streams)]
    await asyncio.gather(*(handle.get_result() for handle in handles))
    return sum(counts) / (time.monotonic() - min(firsts))


async def main() -> None:
    dsn, seconds = sys.argv[1], float(sys.argv[2])
    DBOS(
        config={
            "name": "benchmark",
            "system_database_url": dsn,
            "run_admin_server": False,
            "log_level": "ERROR",
            "sys_db_pool_size": 20,
        }
    )
    DBOS.launch()
    print(json.dumps({streams: await rate(int(streams), seconds) for streams in sys.argv[3:]}))
    DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main())
