"""A real database whose clock stands still and whose ids count, so that a run can be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString, TypeVar

from pgdurable.database import connections
from tests.model.state import State, read_state

T = TypeVar("T")
START = datetime(2026, 1, 1, tzinfo=UTC)
INSTALL = """
create schema pgdurable_test;
create table pgdurable_test.clock (at timestamptz not null);
create sequence pgdurable_test.ids;
create or replace function pgdurable.now()
returns timestamptz
language sql
volatile
as $$
  select c.at from pgdurable_test.clock as c;
$$;
create or replace function pgdurable.new_response_id()
returns text
language sql
volatile
as $$
  select pgdurable._first_response_id(pgdurable.now())
    || lpad(to_hex(nextval('pgdurable_test.ids')), 20, '0');
$$;
"""
EMPTY = """
truncate pgdurable.responses, pgdurable.requests, pgdurable.events, pgdurable.attempts,
  pgdurable.conversation_aliases, pgdurable.idempotency_keys, pgdurable_test.clock;
alter sequence pgdurable_test.ids restart;
"""


class Database:
    """Calls the engine as the runtime does, from a test that is not async. Close it."""

    def __init__(self, dsn: str) -> None:
        self.sync = connections.connect_sync(dsn, name="model")
        self.sync.execute(INSTALL)
        self._runner = asyncio.Runner()
        self.conn = self.call(connections.connect(dsn, name="model"))

    def close(self) -> None:
        self.call(self.conn.close())
        self._runner.close()
        self.sync.close()

    def call(self, query: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(query)

    def new_id(self) -> str:
        return self._text("select pgdurable.new_response_id()")

    def next_id(self) -> str:
        """The one that the engine is about to make."""
        return self._text(
            "select pgdurable._first_response_id(pgdurable.now())"
            " || lpad(to_hex(s.last_value + s.is_called::integer), 20, '0')"
            " from pgdurable_test.ids as s"
        )

    def finished(self, response_ids: list[str]) -> set[str]:
        """Those of them that have ended."""
        found = self.sync.execute(
            "select r.response_id from pgdurable.responses as r"
            " where r.response_id = any(%s) and r.finished_at is not null",
            [response_ids],
        )
        return {str(row[0]) for row in found}

    def _text(self, query: LiteralString) -> str:
        row = self.sync.execute(query).fetchone()
        assert row is not None
        return str(row[0])

    def empty(self) -> None:
        """As new: nothing stored, START on the clock."""
        self.sync.execute(EMPTY)
        self.sync.execute("insert into pgdurable_test.clock values (%s)", [START])

    def advance(self, by: timedelta) -> None:
        self.sync.execute("update pgdurable_test.clock set at = at + %s", [by])

    def state(self) -> State:
        return read_state(self.sync)
