"""sql/90_retention.sql: finished responses leave, a bounded number at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg

from pgdurable.database import queries
from tests.support.clock import Clock
from tests.support.engine import (
    PAST_LEASE,
    Conn,
    append,
    enqueue,
    finish,
    start,
    state,
    take_over,
    value,
)

DAY = timedelta(days=1)


async def prune(db: Conn, older_than: timedelta = DAY, limit: int = 1000) -> int:
    return await queries.prune_responses(db, older_than=older_than, limit=limit)


async def count(db: Conn) -> int:
    return int(await value(db, "select count(*) from pgdurable.responses"))


async def finished(db: Conn, **columns: Any) -> str:
    held = await start(db, **columns)
    await append(db, held)
    await finish(db, held, after=2)
    return held.response_id


async def test_what_finished_long_ago_goes_with_all_it_had(db: Conn, clock: Clock) -> None:
    await finished(db, key="k", conversation="c")
    clock.advance(DAY + timedelta(minutes=1))
    young = await finished(db)
    assert await prune(db) == 1
    for table in ("requests", "events", "attempts"):
        left = await value(
            db,
            f"select array_agg(distinct response_id) from pgdurable.{table}",
        )
        assert left == [young]
    assert await value(db, "select count(*) from pgdurable.idempotency_keys") == 0
    assert await prune(db) == 0


async def test_what_has_not_finished_stays_however_old(db: Conn, clock: Clock) -> None:
    queued, running = await enqueue(db, queue="other"), await start(db)
    clock.advance(DAY * 100)
    assert await prune(db) == 0
    assert (await state(db, queued))["status"] == "queued"
    assert (await state(db, running.response_id))["status"] == "in_progress"


async def test_age_counts_from_the_end_not_from_the_start(db: Conn, clock: Clock) -> None:
    held = await start(db)
    clock.advance(DAY * 2)
    await finish(db, held)
    assert await prune(db) == 0
    clock.advance(DAY + timedelta(minutes=1))
    assert await prune(db) == 1


async def test_never_more_than_the_limit_the_oldest_first(db: Conn, clock: Clock) -> None:
    ids = [await finished(db) for _ in range(5)]
    clock.advance(DAY * 2)
    assert await prune(db, limit=2) == 2
    kept = await value(
        db, "select array_agg(r.response_id order by r.response_id) from pgdurable.responses as r"
    )
    assert kept == ids[2:]
    assert [await prune(db, limit=2) for _ in range(3)] == [2, 1, 0]


async def test_what_was_not_to_be_stored_goes_after_an_hour(db: Conn, clock: Clock) -> None:
    await finished(db, store=False)
    kept = await finished(db)
    clock.advance(timedelta(minutes=59))
    assert await prune(db) == 0
    clock.advance(timedelta(minutes=2))
    assert await prune(db) == 1
    assert (await state(db, kept))["status"] == "completed"


async def test_nobody_is_waited_for(dsn: str, db: Conn, clock: Clock) -> None:
    held, free = await finished(db), await finished(db)
    clock.advance(DAY * 2)
    with psycopg.connect(dsn) as person:
        person.execute(
            "select from pgdurable.responses where response_id = %s for key share", [held]
        )
        assert await prune(db) == 1
        assert await queries.existing_responses(db, [held, free]) == {held}
    assert await prune(db) == 1


async def test_an_alias_goes_with_the_last_response_of_its_conversation(
    db: Conn, clock: Clock
) -> None:
    """Also where another response than the last one had moved it."""
    held = await start(db, conversation="c")
    await append(db, held)
    clock.advance(PAST_LEASE)
    (again,) = await take_over(db)
    await finish(db, again)
    clock.advance(DAY)
    await finished(db, conversation="c")
    clock.advance(timedelta(minutes=1))
    assert await prune(db) == 1
    current = await queries.resolve_conversation_alias(db, principal="", base="c")
    assert current == again.conversation_id
    clock.advance(DAY)
    assert await prune(db) == 1
    assert await value(db, "select count(*) from pgdurable.conversation_aliases") == 0
    assert await count(db) == 0


async def test_what_was_not_to_be_stored_goes_with_all_else_where_that_is_sooner(
    db: Conn, clock: Clock
) -> None:
    await finished(db, store=False)
    await finished(db)
    clock.advance(timedelta(minutes=2))
    assert await prune(db, older_than=timedelta(minutes=1), limit=1) == 1
    assert await prune(db, older_than=timedelta(minutes=1)) == 1
    assert await count(db) == 0


async def worker(db: Conn, name: str) -> None:
    await queries.register_worker(
        db,
        worker_id=name,
        host="h",
        pid=1,
        queues=["default"],
        concurrency=1,
        version="0",
        agents=["agent"],
    )


async def workers(db: Conn) -> set[str]:
    return {row.worker_id for row in await queries.worker_activity(db)}


async def test_a_worker_that_was_last_seen_long_ago_goes_too(db: Conn, clock: Clock) -> None:
    for name in ("gone", "stuck", "alive"):
        await worker(db, name)
    await start(db, worker="stuck")
    clock.advance(DAY - timedelta(minutes=1))
    assert await prune(db) == 0
    assert await workers(db) == {"gone", "stuck", "alive"}
    clock.advance(timedelta(minutes=2))
    await worker(db, "alive")
    assert await prune(db) == 0
    assert await workers(db) == {"stuck", "alive"}


async def test_a_worker_that_is_only_between_two_beats_stays_whatever_goes(
    db: Conn, clock: Clock
) -> None:
    await worker(db, "alive")
    clock.advance(timedelta(minutes=59))
    await prune(db, older_than=timedelta(0))
    assert await workers(db) == {"alive"}
