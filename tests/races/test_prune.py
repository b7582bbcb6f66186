"""Pruning waits for nobody, and nobody trips over it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from pgdurable.database import connections, queries
from pgdurable.errors import ResponseNotFound
from tests.support.clock import Clock
from tests.support.engine import (
    PAST_LEASE,
    Conn,
    append,
    claim,
    enqueue,
    finish,
    log_of,
    start,
    state,
    take_over,
    value,
)
from tests.support.sessions import Session

DAY = timedelta(days=1)


async def prune(conn: Conn, limit: int = 100) -> int:
    return await queries.prune_responses(conn, older_than=DAY, limit=limit)


@pytest.fixture
async def old(db: Conn, clock: Clock) -> list[str]:
    """Three finished long ago, in one conversation, one with a key."""
    ids = []
    for key in ("k", None, None):
        held = await start(db, conversation="c", key=key)
        await finish(db, held)
        ids.append(held.response_id)
    clock.advance(2 * DAY)
    return ids


async def test_two_prunes_share_the_work_and_neither_waits(
    a: Session, b: Session, db: Conn, old: list[str]
) -> None:
    async with a.conn.transaction():
        assert await prune(a.conn, limit=2) == 2
        assert await prune(b.conn) == 1
    assert await value(db, "select count(*) from pgdurable.events") == 0


async def test_a_delete_that_waits_for_a_prune_finds_nothing(
    a: Session, b: Session, old: list[str]
) -> None:
    async with a.conn.transaction():
        await prune(a.conn)
        gone = await b.blocked(a, queries.delete_response(b.conn, response_id=old[0], principal=""))
    with pytest.raises(ResponseNotFound):
        await gone


async def test_a_prune_passes_over_what_is_being_deleted(
    a: Session, b: Session, db: Conn, old: list[str]
) -> None:
    async with a.conn.transaction():
        await queries.delete_response(a.conn, response_id=old[1], principal="")
        assert await prune(b.conn) == 2
    assert await value(db, "select count(*) from pgdurable.responses") == 0


async def test_of_two_who_delete_a_conversations_last_two_one_takes_its_alias(
    a: Session, b: Session, db: Conn, clock: Clock
) -> None:
    last = await start(db, conversation="d")
    await append(db, last)
    clock.advance(PAST_LEASE)
    await take_over(db)
    other = await enqueue(db, conversation="d")
    assert await value(db, "select count(*) from pgdurable.conversation_aliases") == 1
    async with a.conn.transaction():
        await queries.delete_response(a.conn, response_id=last.response_id, principal="")
        waiting = await b.blocked(
            a, queries.delete_response(b.conn, response_id=other, principal="")
        )
    await waiting
    assert await value(db, "select count(*) from pgdurable.conversation_aliases") == 0


async def test_readers_see_all_of_it_or_nothing(a: Session, b: Session, old: list[str]) -> None:
    async with a.conn.transaction():
        await prune(a.conn)
        seen = await queries.get_response(b.conn, response_id=old[0], principal="")
        assert seen.terminal is not None
        assert len(await log_of(b.conn, old[0])) == 3
        assert await queries.retry_response(b.conn, response_id=old[0], principal="")
    assert await log_of(b.conn, old[0]) == []
    with pytest.raises(ResponseNotFound):
        await queries.get_response(b.conn, response_id=old[0], principal="")


async def test_a_key_waits_for_the_prune_of_its_response_and_is_free(
    a: Session, b: Session, db: Conn, old: list[str]
) -> None:
    async with a.conn.transaction():
        await prune(a.conn)
        waiting = await b.blocked(a, enqueue(b.conn, key="k"))
    assert await waiting not in old


async def test_what_runs_is_not_touched(a: Session, b: Session, db: Conn, old: list[str]) -> None:
    held = await start(db, conversation="c")
    async with a.conn.transaction():
        await prune(a.conn)
        await b.conn.execute("set lock_timeout = '5s'")
        assert (await append(b.conn, held)).outcome == "ok"
        assert (await finish(b.conn, held, after=2)).outcome == "ok"
    assert (await state(db, held.response_id))["status"] == "completed"


async def test_pruning_under_load_deadlocks_with_nobody(
    dsn: str, db: Conn, clock: Clock, old: list[str]
) -> None:
    stop = asyncio.Event()

    async def work(name: str) -> int:
        ended = 0
        async with await connections.connect(dsn, name=name) as conn:
            while not stop.is_set():
                await enqueue(conn, conversation="c", key=f"{name}-{ended}")
                for held in await claim(conn, name, limit=3):
                    await append(conn, held)
                    await finish(conn, held, after=2)
                    ended += 1
        return ended

    workers = [asyncio.create_task(work(f"w{n}")) for n in range(3)]
    async with await connections.connect(dsn, name="pruner") as conn:
        for _ in range(20):
            clock.advance(DAY)
            await queries.prune_responses(conn, older_than=timedelta(0), limit=5)
    stop.set()
    assert sum(await asyncio.gather(*workers)) > 0
    assert (
        await value(
            db,
            "select count(*) from pgdurable.events as e where not exists (select from"
            " pgdurable.responses as r where r.response_id = e.response_id)",
        )
        == 0
    )
