"""When to look for responses whose worker is gone, and when to judge nobody.

About once a second the database is asked whether something is due; it may answer that something
will be in a moment. A process that was frozen, or cut off from the database, sees leases that have
run out for the same reason: it renews its own first, and gives others the time of one lease.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta

from pgdurable.config import LongRunningSettings
from pgdurable.database import connections, queries
from pgdurable.database.queries import Claimant
from pgdurable.models import ClaimedResponse

# Counts the time for which the machine was suspended, too, where there is such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class Scan:
    """Takes over what is due, for one worker.

    `introduce` registers the worker anew, after an outage; `beat` renews its leases at once.
    """

    def __init__(
        self,
        claimant: Claimant,
        settings: LongRunningSettings,
        claims: connections.OwnConnection,
        *,
        introduce: Callable[[], Awaitable[None]],
        beat: Callable[[], None],
    ) -> None:
        self._claimant = claimant
        self._settings = settings
        self._claims = claims
        self._introduce = introduce
        self._beat = beat
        self._lease = claimant.lease.total_seconds()
        self._stuck_after = timedelta(seconds=settings.stuck_after_seconds or self._lease)
        self._looked_at: float | None = None
        self._judge_from = 0.0
        self._due_in: float | None = None
        self._in_vain_since: float | None = None

    @property
    def wants_room(self) -> bool:
        """Has something been due for a lease that no worker had room for? It waits for ten."""
        if self._in_vain_since is None:
            return False
        return 1 < (_now() - self._in_vain_since) / self._lease < 10

    async def wait(self) -> None:
        """Until the next look: a whole interval, or as long as the database said."""
        interval = self._settings.stale_scan_interval_seconds
        fraction = self._settings.stale_scan_jitter_fraction
        pause = interval * random.uniform(1 - fraction, 1)
        await asyncio.sleep(pause if self._due_in is None else min(pause, max(self._due_in, 0.02)))

    async def is_due(self, running: Collection[str]) -> bool:
        """Is there something to take over now?"""
        self._due_in = None
        if await self._judges_nobody():
            return False
        due = await queries.takeover_due(
            await self._claims.get(),
            self._claimant,
            running=running,
            stuck_after=self._stuck_after,
        )
        self._looked_at = _now()
        if due is None:
            self._in_vain_since = None
            return False
        self._due_in = due.total_seconds()
        return self._due_in <= 0

    async def take_over(self, running: Collection[str], *, limit: int) -> list[ClaimedResponse]:
        """What may be taken over now."""
        self._due_in = None
        taken = await queries.take_over_responses(
            await self._claims.get(),
            self._claimant,
            limit=limit,
            running=running,
            stuck_after=self._stuck_after,
        )
        self._in_vain_since = None if taken else self._in_vain_since or _now()
        return taken

    async def pass_over(self) -> None:
        """No look this time: the worker could take nothing."""
        await self._judges_nobody()
        self._looked_at = _now()

    async def _judges_nobody(self) -> bool:
        """After a gap in which leases may have run out, the living come first, for one lease."""
        gap = 0.0 if self._looked_at is None else _now() - self._looked_at
        if gap > self._settings.stale_scan_interval_seconds + self._lease / 2:
            self._beat()
            await self._introduce()
            self._judge_from = _now() + self._lease
        if _now() < self._judge_from:
            self._looked_at = _now()
            return True
        return False
