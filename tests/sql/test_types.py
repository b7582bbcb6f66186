"""sql/03_types.sql: the rows that functions answer with."""

from __future__ import annotations

from pathlib import Path

from pgdurable import schema
from tests.support.engine import Conn, enqueue, value

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


async def test_making_them_again_makes_the_functions_again(dsn: str, db: Conn) -> None:
    await db.execute(TYPES.read_text().encode())
    assert await value(db, "select to_regproc('pgdurable.claim_responses')") is None
    schema.migrate(dsn, reapply=True)
    assert await enqueue(db)
