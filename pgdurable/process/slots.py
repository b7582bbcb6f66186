"""A process that has no free slot while responses wait: somebody should know.

Agents that call agents of the same server and wait for them can fill all slots with callers; none
ends before its time-out then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from pgdurable.config import LongRunningSettings
from pgdurable.database import connections
from pgdurable.logs import REPEAT_SECONDS, LogEvent, log
from pgdurable.worker.loop import Worker

logger = logging.getLogger(__name__)

# What has waited for less is a queue at work. While a slot is free, nobody asks the database.
WAIT_SECONDS = 5.0


async def watch(
    worker: Worker,
    settings: LongRunningSettings,
    oldest_wait: Callable[[], Awaitable[timedelta | None]],
) -> None:
    """Say so, at most once a minute, until cancelled."""
    while True:
        await asyncio.sleep(WAIT_SECONDS)
        if not worker.is_full:
            continue
        try:
            waited = await oldest_wait()
        except Exception as exc:
            if not connections.is_outage(exc):
                log(logger, logging.ERROR, LogEvent.CLAIM_FAILED, exc_info=exc)
            continue
        if waited is not None and waited.total_seconds() >= WAIT_SECONDS:
            log(
                logger,
                logging.WARNING,
                LogEvent.SLOTS_FULL,
                queue=settings.queue,
                concurrency=settings.concurrency,
                oldest_wait=f"{waited.total_seconds():.1f}",
            )
            await asyncio.sleep(REPEAT_SECONDS)
