"""Time that tests move: the database's only clock, with an offset."""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg

INSTALL = """
create schema pgdurable_test;
create table pgdurable_test.clock (one boolean primary key, shift interval not null);
insert into pgdurable_test.clock values (true, '0');
grant usage on schema pgdurable_test to public;
grant select on pgdurable_test.clock to public;
create or replace function pgdurable.now()
returns timestamptz
language sql
volatile
as $$
  select pg_catalog.clock_timestamp() + (select c.shift from pgdurable_test.clock as c where c.one);
$$;
"""


class Clock:
    """Moves `pgdurable.now()` for every connection to one test database, from the next call on."""

    def __init__(self, conn: psycopg.Connection[tuple[object, ...]]) -> None:
        self._conn = conn
        conn.execute(INSTALL)

    def advance(self, by: timedelta) -> None:
        """Let this much time pass at once; a negative one goes back."""
        self._conn.execute("update pgdurable_test.clock set shift = shift + %s", [by])

    def now(self) -> datetime:
        """What the database takes for now."""
        row = self._conn.execute("select pgdurable.now()").fetchone()
        assert row and isinstance(row[0], datetime)
        return row[0]
