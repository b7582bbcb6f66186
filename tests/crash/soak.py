"""`python -m tests.crash.soak [MINUTES]`: kills and pauses until the time is up, 20 minutes if not
told otherwise. Prints a seed per round; any violation ends it with its traceback."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import psycopg

from tests.crash.fleet import Nodes
from tests.crash.postgres import own_postgres
from tests.crash.test_killed_worker import kill_workers
from tests.crash.test_paused_owner import pause_owners


async def soak(minutes: float) -> None:
    """Rounds of both storms, each with fresh processes on one database that keeps growing."""
    until = time.monotonic() + 60 * minutes
    rounds = 0
    with own_postgres() as postgres:
        while time.monotonic() < until:
            rounds += 1
            seed = random.randrange(1 << 32)
            print(f"round {rounds}, {(until - time.monotonic()) / 60:.1f} minutes left")
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
                await psycopg.AsyncConnection.connect(postgres.dsn, autocommit=True) as conn,
            ):
                with Nodes() as nodes:
                    await kill_workers(
                        postgres.dsn, nodes, session, conn, responses=150, kills=10, seed=seed
                    )
                with Nodes() as nodes, tempfile.TemporaryDirectory() as marks:
                    await pause_owners(
                        postgres.dsn, nodes, session, conn, Path(marks), pauses=40, seed=seed
                    )
    print(f"{rounds} rounds, nothing lost, nothing twice")


if __name__ == "__main__":
    asyncio.run(soak(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0))
