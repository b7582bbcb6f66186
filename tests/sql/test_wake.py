"""sql/85_wake.sql: hints, ids only."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest

from pgdurable.database import queries
from tests.support.engine import Conn, value

Listener = psycopg.AsyncConnection[tuple[object, ...]]


@pytest.fixture
async def listener(dsn: str) -> AsyncIterator[Listener]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        await conn.execute("listen pgdurable_work; listen pgdurable_tail; listen other")
        yield conn


async def heard(db: Conn, listener: Listener) -> list[tuple[str, str]]:
    """Everything that was sent before now."""
    await db.execute("notify other, 'end'")
    said: list[tuple[str, str]] = []
    async for note in listener.notifies(timeout=30):
        if note.channel == "other":
            break
        said.append((note.channel, note.payload))
    return said


@pytest.mark.parametrize("channel", ["pgdurable_work", "pgdurable_tail"])
async def test_listeners_get_the_ids(db: Conn, listener: Listener, channel: str) -> None:
    await queries.wake(db, channel=channel, ids=["resp_1", "resp_2"])
    assert await heard(db, listener) == [(channel, "resp_1 resp_2")]


async def test_many_ids_go_in_payloads_that_postgres_accepts(db: Conn, listener: Listener) -> None:
    ids = [f"resp_{n:032x}" for n in range(1001)]
    await queries.wake(db, channel="pgdurable_tail", ids=ids)
    payloads = [payload for _, payload in await heard(db, listener)]
    assert len(payloads) == 6
    assert max(len(payload) for payload in payloads) <= 7900
    assert " ".join(payloads).split() == ids


async def test_a_hint_never_fails_its_caller(db: Conn, listener: Listener) -> None:
    for ids in ([], ["x" * 9000], ["é" * 5000], [None], None):
        await db.execute("select pgdurable.wake('pgdurable_tail', %s::text[])", [ids])
    await db.execute("select pgdurable.wake(null, array['resp_1'])")
    assert await heard(db, listener) == []


async def test_an_unknown_channel_is_a_warning(db: Conn, listener: Listener) -> None:
    notices: list[str | None] = []
    db.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    for channel in ("other", "pgdurable_tail; drop table x", ""):
        await queries.wake(db, channel=channel, ids=["resp_1"])
    assert await heard(db, listener) == []
    assert [str(notice).partition(":")[0] for notice in notices] == ["pgdurable.wake"] * 3


async def test_nothing_is_heard_of_what_was_rolled_back(db: Conn, listener: Listener) -> None:
    with pytest.raises(ZeroDivisionError):
        async with db.transaction():
            await queries.wake(db, channel="pgdurable_tail", ids=["resp_1"])
            raise ZeroDivisionError
    assert await heard(db, listener) == []


async def test_the_wrapper_does_not_wait_for_the_disk_and_leaves_no_setting(db: Conn) -> None:
    await queries.wake(db, channel="pgdurable_tail", ids=["resp_1"])
    assert await value(db, "show synchronous_commit") == "on"
