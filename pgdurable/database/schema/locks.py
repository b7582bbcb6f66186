"""How a migration waits: in turns, so that the processes at work wait for it only briefly."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from psycopg.errors import DeadlockDetected, LockNotAvailable

from pgdurable.database.schema.plan import LOCK
from pgdurable.database.schema.session import Connection, MigrationFailed

T = TypeVar("T")
# A session that waits for a table holds up all sessions that come after it.
TURN = timedelta(seconds=1)
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a lock in all, and whom to tell what is going on."""

    limit: timedelta
    tell: Callable[[str], None]

    @property
    def turn(self) -> timedelta:
        """How long one try waits."""
        return min(self.limit, TURN)

    def spend(self, work: Callable[[], T]) -> T:
        """Do the work, again where a lock of another session was in its way."""
        deadline = time.monotonic() + self.limit.total_seconds()
        while True:
            try:
                return work()
            except MigrationFailed as exc:
                in_the_way = isinstance(exc.__cause__, LockNotAvailable | DeadlockDetected)
                if not in_the_way or time.monotonic() >= deadline:
                    raise
            self.tell("another session holds a lock: trying again")
            time.sleep(self.turn.total_seconds())


def take_lock(conn: Connection, patience: Patience) -> bool:
    """The lock that only one migration has, until the transaction ends; False when time is up.

    Asked for again and again: a statement that waits for it would hold up `create index
    concurrently` of the one that has it, which waits for all older snapshots.
    """
    deadline = time.monotonic() + patience.limit.total_seconds()
    while conn.execute("select pg_try_advisory_xact_lock(%s)", [LOCK]).fetchone() != (True,):
        conn.rollback()
        if time.monotonic() >= deadline:
            return False
        time.sleep(min(POLL_SECONDS, patience.limit.total_seconds()))
    return True
