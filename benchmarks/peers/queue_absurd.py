# mypy: disable-error-code="import-not-found, untyped-decorator, misc"
"""absurd as a queue of no-ops with an asynchronous worker; $CONCURRENCY and $POLL (seconds) choose.

Its schema is the one that absurdctl of the same release brings along.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
from absurd_sdk import Absurd, AsyncAbsurd

from benchmarks.tools import marks

COMMAND, DSN, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])
CONCURRENCY, POLL = int(os.environ.get("CONCURRENCY", "50")), float(os.environ.get("POLL", "0.25"))
SPAWN = """
select count(*) from (
  select absurd.spawn_task('default', 'nothing', '{"sent_at": 0}'::jsonb, '{}'::jsonb)
  from generate_series(1, %s) offset 0
) as spawned
"""


async def work() -> None:
    app = AsyncAbsurd(DSN, queue_name="default")

    @app.register_task("nothing")
    async def nothing(parameters: Any, context: Any) -> None:
        marks.handler_started(parameters["sent_at"])

    await app.start_worker(concurrency=CONCURRENCY, poll_interval=POLL)


def main() -> None:
    if COMMAND == "setup":
        command = Path(sys.executable).parent / "absurdctl"
        subprocess.run([command, "init", "--database", DSN], check=True)
        Absurd(DSN, queue_name="default").create_queue("default")
    elif COMMAND == "work":
        asyncio.run(work())
    elif COMMAND == "enqueue":
        with psycopg.connect(DSN, autocommit=True) as conn:
            for start in range(0, COUNT, 1000):
                conn.execute(SPAWN, [min(1000, COUNT - start)])
    else:
        app = Absurd(DSN, queue_name="default")
        for _ in range(COUNT):
            app.spawn("nothing", {"sent_at": time.monotonic()}, queue="default")
            time.sleep(0.05)


main()
