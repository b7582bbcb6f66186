"""What is in the schema `pgdurable`, as text that can be compared."""

from __future__ import annotations

from typing import LiteralString

import psycopg

OBJECTS: dict[str, LiteralString] = {
    "relations": """
        select c.relname, c.relkind, c.reloptions, c.relacl,
          obj_description(c.oid, 'pg_class'), coalesce(pg_get_viewdef(c.oid), '')
        from pg_class as c
        where c.relnamespace = 'pgdurable'::regnamespace and c.relkind in ('r', 'p', 'v', 'c')
    """,
    "columns": """
        select c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
          a.attnotnull, a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid),
          col_description(c.oid, a.attnum), a.attacl
        from pg_class as c
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
        where c.relnamespace = 'pgdurable'::regnamespace and c.relkind in ('r', 'p', 'v', 'c')
    """,
    "constraints": """
        select k.conrelid::regclass::text, k.conname, pg_get_constraintdef(k.oid)
        from pg_constraint as k
        where k.connamespace = 'pgdurable'::regnamespace
    """,
    "indexes": """
        select i.indexname, i.indexdef from pg_indexes as i where i.schemaname = 'pgdurable'
    """,
    "functions": """
        select p.oid::regprocedure::text, pg_get_functiondef(p.oid), p.proacl,
          obj_description(p.oid, 'pg_proc')
        from pg_proc as p
        where p.pronamespace = 'pgdurable'::regnamespace and p.prokind in ('f', 'p')
    """,
    "schema": """
        select n.nspacl, obj_description(n.oid, 'pg_namespace')
        from pg_namespace as n where n.nspname = 'pgdurable'
    """,
}
BOOKKEEPING: dict[str, LiteralString] = {
    "migrations": "select version, name from pgdurable.schema_migrations",
    "files": "select name, checksum, release from pgdurable.schema_files",
}


def catalog(dsn: str, *, bookkeeping: bool = True) -> dict[str, list[str]]:
    """Every object with its definition, comment and grants; sorted, so that equal means equal."""
    queries = OBJECTS | (BOOKKEEPING if bookkeeping else {})
    with psycopg.connect(dsn) as conn:
        return {kind: sorted(map(str, conn.execute(q).fetchall())) for kind, q in queries.items()}


def has_schema(dsn: str) -> bool:
    with psycopg.connect(dsn) as conn:
        return conn.execute("select to_regnamespace('pgdurable')").fetchone() != (None,)
