"""plpgsql_check reads every function as a compiler would. Debian: postgresql-15-plpgsql-check."""

from __future__ import annotations

import pytest

from tests.support.engine import Conn, value

FINDINGS = """
select p.proname || ' line ' || f.lineno || ': ' || f.message
from pg_proc as p
join pg_language as l on l.oid = p.prolang and l.lanname = 'plpgsql'
cross join lateral plpgsql_check_function_tb(
  p.oid, fatal_errors => false, extra_warnings => true, performance_warnings => false
) as f
where p.pronamespace = 'pgdurable'::regnamespace
order by 1
"""


async def test_it_finds_nothing_wrong(db: Conn) -> None:
    available = "select count(*) from pg_available_extensions where name = 'plpgsql_check'"
    if not await value(db, available):
        pytest.skip("this Postgres has no plpgsql_check")
    await db.execute("create extension plpgsql_check")
    assert await (await db.execute(FINDINGS)).fetchall() == []
