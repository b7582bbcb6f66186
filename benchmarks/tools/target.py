"""A Responses server under load: ours and the seed answer the same requests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg

from benchmarks.tools.client import Address
from benchmarks.tools.process import Child, cpu_seconds, family, resident_bytes


@dataclass(frozen=True, slots=True)
class Log:
    """How a product's tables are asked; the ids of the responses are the only parameter."""

    unfinished: LiteralString  # is one of them queued or running?
    all_unfinished: LiteralString  # the same of the whole database, no parameter
    deltas: LiteralString  # one row: number of stored deltas, first yield (monotonic seconds)
    second_attempt: LiteralString  # one row: first yield of the second attempt, or null
    first_cursor: int | None  # what a reader of the whole log sends as starting_after


@dataclass(frozen=True, slots=True)
class Target:
    """A running server process, its address, and its database."""

    address: Address
    child: Child
    dsn: str
    log: Log

    def wait_until_finished(
        self, response_ids: Sequence[str] | None = None, timeout: float = 300
    ) -> float:
        """Return the instant (monotonic seconds) when all, or these, were seen finished.

        Asked every 10 ms, so the instant is late by up to that much, for every contestant alike.
        """
        deadline = time.monotonic() + timeout
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            while time.monotonic() < deadline:
                if response_ids is None:
                    row = conn.execute(self.log.all_unfinished).fetchone()
                else:
                    row = conn.execute(self.log.unfinished, [list(response_ids)]).fetchone()
                if row == (False,):
                    return time.monotonic()
                time.sleep(0.01)
        raise TimeoutError(
            f"responses are unfinished after {timeout} s: {self.child.output()[-2000:]}"
        )

    def stored_deltas(self, response_ids: Sequence[str]) -> tuple[int, float]:
        """Return how many deltas are stored and when the first of them was yielded."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            row = conn.execute(self.log.deltas, [list(response_ids)]).fetchone()
        assert row is not None and row[0] > 0, "no delta was stored"
        return int(row[0]), float(row[1])

    def second_attempt_at(self, response_id: str) -> float | None:
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            row = conn.execute(self.log.second_attempt, [response_id]).fetchone()
        return None if row is None or row[0] is None else float(row[0])

    def cpu_seconds(self) -> float:
        return cpu_seconds(family(self.child.pid))

    def resident_bytes(self) -> int:
        return resident_bytes(family(self.child.pid))


def statements(dsn: str) -> int:
    """Statements that were executed in this database so far, by pg_stat_statements."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(
            "select coalesce(sum(s.calls), 0) from pg_stat_statements as s"
            " join pg_database as d on d.oid = s.dbid where d.datname = current_database()"
        ).fetchone()
    return int(row[0]) if row else 0


def connections(dsn: str) -> int:
    """Client connections to this database, without the one that asks."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(
            "select count(*) - 1 from pg_stat_activity"
            " where datname = current_database() and backend_type = 'client backend'"
        ).fetchone()
    return int(row[0]) if row else 0
