"""From 0.1.0 to this release, with processes of 0.1.0 at work."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from pgdurable.database import schema
from pgdurable.database.schema import Fit, locks
from pgdurable.errors import SchemaMismatch
from tests.database.schema.conftest import Release
from tests.database.schema.release_0_1_0 import TAKE_OVER, Session, install
from tests.support.catalog import catalog
from tests.support.processes import Process
from tests.support.waiting import blocked_by, wait_for_row, wait_until, wait_until_blocked

ROOT = Path(__file__).parents[3]
Conn = psycopg.AsyncConnection[Any]


@pytest.fixture
def old_dsn(empty_dsn: str) -> str:
    """A database as 0.1.0 has made it."""
    install(empty_dsn)
    return empty_dsn


@pytest.fixture
async def sessions(old_dsn: str) -> AsyncIterator[list[Session]]:
    async with AsyncExitStack() as stack:
        opened = []
        for number in range(4):
            conn = await psycopg.AsyncConnection.connect(
                old_dsn, autocommit=True, prepare_threshold=None
            )
            opened.append(Session(await stack.enter_async_context(conn), f"old-{number}"))
        yield opened


async def fill(old: Session) -> None:
    """A response in each status and on each way there; ends with nothing held."""
    for status in ("completed", "failed", "incomplete"):
        await old.enqueue(key=status, conversation=f"c-{status}")
        (response_id,) = await old.claim()
        await old.append(response_id)
        await old.append(response_id, finish=status)
    await old.conn.execute(
        "select pgdurable.cancel_response(%s)", [await old.enqueue(key="cancelled")]
    )
    await old.enqueue(conversation="rotated")
    (response_id,) = await old.claim()
    await old.append(response_id)
    await old.release(response_id)
    await old.claim()
    await expire(old.conn)
    assert await old.claim(1, TAKE_OVER) == [response_id]
    await old.append(response_id, finish="completed")
    await old.enqueue(conversation="rotated")
    (response_id,) = await old.claim()
    await old.append(response_id)
    await expire(old.conn)
    old.held.clear()
    await old.enqueue(key="waits")


async def expire(conn: Conn) -> None:
    await conn.execute(
        "update pgdurable.responses set lease_expires_at = pgdurable.now() - interval '1 s'"
        " where status = 'in_progress'"
    )


async def rows(conn: Conn, query: LiteralString, *args: Any) -> list[Any]:
    """The first column."""
    return [row[0] for row in await (await conn.execute(query, args)).fetchall()]


ENDED: LiteralString = """
select to_jsonb(r) || jsonb_build_object(
  'events', (select jsonb_agg(to_jsonb(e) order by e.seq) from pgdurable.events as e
    where e.response_id = r.response_id),
  'key', (select k.key from pgdurable.idempotency_keys as k where k.response_id = r.response_id)
)
from pgdurable.responses as r where r.finished_at is not null order by r.response_id
"""
EVENTS: LiteralString = "select seq from pgdurable.events where response_id = %s order by seq"


def test_an_upgraded_schema_of_0_1_0_is_what_a_fresh_one_is(old_dsn: str, dsn: str) -> None:
    assert schema.status(old_dsn).fit is Fit.OLDER
    with pytest.raises(SchemaMismatch, match=r"is of pgdurable 0\.1\.0 .* lacks 0001_time_order"):
        schema.check(old_dsn)
    schema.migrate(old_dsn)
    assert schema.check(old_dsn).fit is Fit.CURRENT
    assert schema.status(old_dsn).to_build == []
    assert catalog(old_dsn) == catalog(dsn)


async def test_processes_of_0_1_0_work_on_while_it_is_upgraded(
    old_dsn: str, sessions: list[Session]
) -> None:
    await fill(sessions[0])
    observer = sessions.pop().conn
    statuses = "select distinct status from pgdurable.responses"
    assert len(await rows(observer, statuses)) == 6
    before = await rows(observer, ENDED)
    for session in sessions:
        await session.enqueue(conversation=session.name)
        await session.claim()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for session in sessions:
            group.create_task(session.work(stop))
        await rounds(sessions, 3)
        await asyncio.to_thread(schema.migrate, old_dsn)
        await rounds(sessions, 3)
        stop.set()

    after = {row["response_id"]: row for row in await rows(observer, ENDED)}
    for row in before:
        assert row == {key: after[row["response_id"]][key] for key in row}, "history has changed"
    for session in sessions[1:]:  # the first leaves to this release what it has in progress
        for response_id in list(session.held):
            await session.append(response_id, finish="completed")
    await expire(observer)
    await until_all_have_ended(old_dsn, observer)
    for session in sessions:
        for response_id, seq in session.acknowledged.items():
            seqs = await rows(observer, EVENTS, response_id)
            assert seqs == list(range(len(seqs))) and len(seqs) > seq, "an event is lost"


async def rounds(sessions: list[Session], more: int) -> None:
    """Wait until each of them has worked so many more."""
    start = [session.rounds for session in sessions]
    await wait_until(
        lambda: all(s.rounds >= n + more for s, n in zip(sessions, start, strict=True))
    )


async def until_all_have_ended(dsn: str, observer: Conn) -> None:
    """A process of this release does the rest."""
    left: LiteralString = "select response_id from pgdurable.responses where finished_at is null"
    assert await rows(observer, left), "there is nothing to do"
    server = ["-m", "pgdurable", "run", "tests.database.schema.app:server", "--port", "0"]
    with Process(sys.executable, *server, "--dsn", dsn, cwd=str(ROOT)) as process:
        process.wait_for("Ctrl-C stops it")
        await wait_for_row(observer, f"select true where not exists ({left})")


async def test_calls_of_0_1_0_that_waited_for_the_upgrade_do_what_they_began(
    old_dsn: str, sessions: list[Session], release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in the old function, whatever has happened to those that it calls."""
    monkeypatch.setattr(locks, "TURN", timedelta(seconds=30))
    release.write("migrations/9999_pause.sql", "select pg_advisory_xact_lock(1);")
    writer, finisher, enqueuer, observer = sessions
    for session in (writer, finisher):
        await session.enqueue()
        await session.claim()
    await observer.conn.execute("select pg_advisory_lock(1)")
    migration = asyncio.create_task(
        asyncio.to_thread(
            schema.migrate, old_dsn, wanted=release.load("99.0"), lock_timeout=timedelta(minutes=1)
        )
    )
    migrator = await blocked_by(observer.conn, observer.conn.info.backend_pid)
    calls = [
        asyncio.create_task(writer.append(next(iter(writer.held)))),
        asyncio.create_task(finisher.append(next(iter(finisher.held)), finish="completed")),
        asyncio.create_task(enqueuer.enqueue(key="k")),
    ]
    for session in (writer, finisher, enqueuer):
        assert migrator in await wait_until_blocked(observer.conn, session.conn.info.backend_pid)
    await observer.conn.execute("select pg_advisory_unlock(1)")
    await asyncio.gather(*calls, migration)
    assert schema.check(old_dsn, wanted=release.load("99.0")).to_build == []


async def test_times_that_a_clock_has_set_back_are_mended(
    old_dsn: str, sessions: list[Session]
) -> None:
    old = sessions[0]
    for _ in range(2):
        await old.enqueue()
    ended, running = await old.claim(2)
    await old.append(ended, finish="completed")
    await old.conn.execute(
        "update pgdurable.responses set created_at = created_at + interval '1 hour'"
    )
    await old.conn.execute("update pgdurable.attempts set started_at = started_at + '1 hour'")
    await asyncio.to_thread(schema.migrate, old_dsn)
    await old.append(running, finish="completed")
    valid = "select bool_and(convalidated) from pg_constraint where connamespace = %s::regnamespace"
    assert await rows(old.conn, valid, "pgdurable") == [True]
