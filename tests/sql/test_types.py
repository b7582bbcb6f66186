"""sql/03_types.sql: the rows that functions answer with."""

from __future__ import annotations

from pathlib import Path

from pgdurable.database import schema
from tests.support.engine import Conn, enqueue, start, value

TYPES = Path(__file__).parents[2] / "sql" / "03_types.sql"


async def test_every_type_is_the_answer_of_a_function(db: Conn) -> None:
    unused = await value(
        db,
        """
        select array_agg(t.typname::text)
        from pg_type as t
        join pg_class as c on c.oid = t.typrelid and c.relkind = 'c'
        where t.typnamespace = 'pgdurable'::regnamespace
          and not exists (select from pg_proc as p where p.prorettype = t.oid)
        """,
    )
    assert unused is None


async def oid_of(db: Conn, name: str) -> int | None:
    oid = await value(db, "select to_regtype('pgdurable.' || %s)::oid", name)
    return None if oid is None else int(oid)


async def test_one_that_has_not_changed_is_left_alone(db: Conn) -> None:
    before = await oid_of(db, "claimed_response")
    await db.execute(TYPES.read_text().encode())
    assert await oid_of(db, "claimed_response") == before is not None
    assert await oid_of(db, "_wanted_type") is None
    assert await enqueue(db)


async def test_one_that_has_changed_is_made_anew_and_its_functions_with_it(
    dsn: str, db: Conn
) -> None:
    before = await oid_of(db, "claimed_response")
    await db.execute("alter type pgdurable.claimed_response drop attribute resumed")
    await db.execute(TYPES.read_text().encode())
    assert await value(db, "select to_regproc('pgdurable.claim_responses')") is None
    schema.migrate(dsn, reapply=True)
    assert await oid_of(db, "claimed_response") != before
    await start(db)
