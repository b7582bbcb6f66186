"""The schema is what the committed snapshot says; a change of it is seen in review.

Bodies of functions and views are not in it, they are in sql/ as they stand; nor is anything that
one version of Postgres words differently from another. To write it anew:
PGDURABLE_UPDATE_SNAPSHOT=1 python -m pytest tests/repo/test_schema_snapshot.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg

SNAPSHOT = Path(__file__).with_name("schema_snapshot.txt")
UPDATE = "PGDURABLE_UPDATE_SNAPSHOT"

RELATIONS: LiteralString = """
    select
      case c.relkind when 'v' then 'view' when 'c' then 'type' else 'table' end as kind,
      c.relname,
      case when c.reloptions is null then '' else ' with (' || array_to_string(array(
        select o from unnest(c.reloptions) as o order by o collate "C"
      ), ', ') || ')' end
    from pg_class as c
    where c.relnamespace = 'pgdurable'::regnamespace and c.relkind in ('r', 'p', 'v', 'c')
    order by 1, c.relname collate "C"
"""
COLUMNS: LiteralString = """
    select
      a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
      || case when c.relkind = 'r' and a.attcollation <> t.typcollation
        then ' collate ' || a.attcollation::regcollation else '' end
      || case when a.attnotnull then ' not null' else '' end
      || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
    from pg_attribute as a
    join pg_class as c on c.oid = a.attrelid
    join pg_type as t on t.oid = a.atttypid
    left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = ('pgdurable.' || %s)::regclass and a.attnum > 0 and not a.attisdropped
    order by a.attnum
"""
# 'n' is not null, which Postgres 18 began to keep here too.
CONSTRAINTS: LiteralString = """
    select 'constraint ' || k.conname || ' ' || pg_get_constraintdef(k.oid)
    from pg_constraint as k
    where k.conrelid = ('pgdurable.' || %s)::regclass and k.contype <> 'n'
    order by k.conname collate "C"
"""
INDEXES: LiteralString = """
    select regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE ', '')
    from pg_index as i join pg_class as c on c.oid = i.indexrelid
    where i.indrelid = ('pgdurable.' || %s)::regclass
    order by c.relname collate "C"
"""
FUNCTIONS: LiteralString = """
    select
      'function ' || p.proname || '(' || pg_get_function_arguments(p.oid) || ')',
      'returns ' || pg_get_function_result(p.oid),
      l.lanname || case p.provolatile when 'i' then ' immutable' when 's' then ' stable' else '' end
      || coalesce(', ' || array_to_string(p.proconfig, ', '), '')
    from pg_proc as p join pg_language as l on l.oid = p.prolang
    where p.pronamespace = 'pgdurable'::regnamespace
    order by p.proname collate "C"
"""


def described(dsn: str) -> str:
    """A line per object, those that belong to it indented below."""
    with psycopg.connect(dsn) as conn:
        return "\n".join([*relations(conn), *functions(conn), ""])


def relations(conn: psycopg.Connection[tuple[Any, ...]]) -> Iterator[str]:
    for kind, name, options in conn.execute(RELATIONS).fetchall():
        yield f"{kind} {name}{options}"
        for query in (COLUMNS, CONSTRAINTS, INDEXES):
            yield from (f"  {line}" for (line,) in conn.execute(query, [name]))
        yield ""


def functions(conn: psycopg.Connection[tuple[Any, ...]]) -> Iterator[str]:
    for signature, result, how in conn.execute(FUNCTIONS):
        yield from (signature, f"  {result}", f"  {how}")


def test_a_fresh_schema_is_the_committed_one(dsn: str) -> None:
    found = described(dsn)
    if os.environ.get(UPDATE):
        SNAPSHOT.write_text(found, "utf-8")
    committed = SNAPSHOT.read_text("utf-8")
    assert found.splitlines() == committed.splitlines(), f"wanted? Then run this with {UPDATE}=1"


def test_the_snapshot_sees_a_column_a_constraint_an_index_and_an_argument(dsn: str) -> None:
    before = described(dsn)
    changes: list[LiteralString] = [
        "alter table pgdurable.workers add column extra text",
        "alter table pgdurable.workers add constraint pid_is_positive check (pid > 0)",
        "create index workers_host_idx on pgdurable.workers (host)",
        "alter table pgdurable.workers set (fillfactor = 71)",
        "alter function pgdurable.wake reset search_path",
        "alter type pgdurable.write_result add attribute extra text",
    ]
    for change in changes:
        with psycopg.connect(dsn) as conn:
            conn.execute(change)
        after = described(dsn)
        assert after != before, change
        before = after
