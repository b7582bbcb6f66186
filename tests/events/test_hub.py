"""The hub: what readers cost, and that none of them misses anything or holds up another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool

from pgdurable.database import connections, queries
from pgdurable.events.hub import MAX_BUFFERED_EVENTS, Entry, Feed, Hub
from pgdurable.models import ClaimedResponse
from tests.support import engine
from tests.support.engine import Conn
from tests.support.waiting import wait_until

READERS = 200


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[AsyncConnectionPool]:
    """One connection, so that its statistics are the hub's."""
    async with connections.open_pool(dsn, size=1) as opened:
        yield opened


@pytest.fixture
async def hub(pool: AsyncConnectionPool) -> AsyncIterator[SharedHub]:
    """A hub that reads; nobody but the test tells it of news."""
    made = SharedHub(pool)
    reading = asyncio.create_task(made.run())
    yield made
    await connections.cancel_and_wait(reading)


class SharedHub(Hub):
    """A hub whose pool its readers use, too."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        super().__init__(pool)
        self.pool = pool


class Reader:
    """What one reader of a response has got so far; it opens the feed as the server does."""

    def __init__(self, hub: SharedHub, response_id: str, cursor: int = -1) -> None:
        self.seqs: list[int] = []
        self.has_begun = False
        self.go_on = asyncio.Event()
        self.go_on.set()
        self._hub = hub
        self._response_id = response_id
        self._cursor = cursor
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async with self._hub.open(self._response_id) as feed:
            async with self._hub.pool.connection() as conn:
                snapshot = await queries.get_response(
                    conn, response_id=self._response_id, principal=""
                )
            feed.seen(snapshot.last_seq, finished=snapshot.status.is_terminal)
            self.has_begun = True
            following = self._hub.follow(feed, self._cursor, keep_alive=3600)
            async with contextlib.aclosing(following) as batches:
                async for batch in batches:
                    self.seqs += [entry.seq for entry in batch]
                    await self.go_on.wait()


async def transactions(conn: Conn, pool: AsyncConnectionPool) -> int:
    """How many this database has committed, those of the pool's connection included."""
    async with pool.connection() as pooled:
        await pooled.execute("select pg_stat_force_next_flush()")
        await pooled.execute("select 1")
    await conn.execute("select pg_stat_force_next_flush()")
    await conn.execute("select 1")
    return int(
        await engine.value(
            conn, "select xact_commit from pg_stat_database where datname = current_database()"
        )
    )


async def append(conn: Conn, held: ClaimedResponse, count: int, *, after: int) -> int:
    """That many events, in another process as it were; the last number."""
    result = await engine.append(conn, held, *[engine.delta()] * count, after=after)
    assert result.outcome == "ok" and result.last_seq is not None
    return result.last_seq


def own_events(hub: SharedHub, held: ClaimedResponse, first: int, count: int) -> None:
    """That many events, as this process' writer hands them over."""
    hub.publish(held.response_id, held.attempt, first, [engine.delta()] * count)


async def all_have(readers: list[Reader], last_seq: int) -> None:
    await wait_until(lambda: all(r.seqs and r.seqs[-1] == last_seq for r in readers))


async def test_idle_readers_and_those_of_an_own_response_cost_no_query(
    conn: Conn, pool: AsyncConnectionPool, hub: SharedHub
) -> None:
    held = await engine.start(conn)
    hub.own(held.response_id)
    readers = [Reader(hub, held.response_id, cursor=1) for _ in range(READERS)]
    await wait_until(lambda: all(reader.has_begun for reader in readers))
    before = await transactions(conn, pool)

    for number in range(20):
        first = 2 + number * 5
        own_events(hub, held, first, 5)
        hub.news([held.response_id])  # and the wake for other processes comes back to us
        await all_have(readers, first + 4)

    assert await transactions(conn, pool) - before < 20  # of our own, to find out
    assert all(reader.seqs == list(range(2, 102)) for reader in readers)
    for reader in readers:
        await connections.cancel_and_wait(reader.task)


async def test_one_query_a_wake_serves_all_readers(
    conn: Conn, pool: AsyncConnectionPool, hub: SharedHub
) -> None:
    held = [await engine.start(conn) for _ in range(10)]
    last = [response.last_seq for response in held]
    readers = [Reader(hub, response.response_id) for response in held for _ in range(20)]
    await wait_until(lambda: all(reader.has_begun for reader in readers))
    hub.news()
    await all_have(readers, 1)
    before = await transactions(conn, pool)

    wakes = 5
    for _ in range(wakes):
        last = [await append(conn, r, 3, after=n) for r, n in zip(held, last, strict=True)]
        hub.news()
        await all_have(readers, last[0])

    ours = wakes * (len(held) + 1) + 20  # the appends, and what we do to find out
    assert await transactions(conn, pool) - before < ours + wakes
    assert all(reader.seqs == list(range(last[0] + 1)) for reader in readers)
    for reader in readers:
        await connections.cancel_and_wait(reader.task)


async def test_readers_that_come_late_read_by_cursor_and_then_with_the_others(
    conn: Conn, hub: SharedHub
) -> None:
    held = await engine.start(conn)
    last = await append(conn, held, 3000, after=held.last_seq)
    early = Reader(hub, held.response_id)
    await all_have([early], last)
    late = [Reader(hub, held.response_id, cursor=cursor) for cursor in (-1, 0, 1500, last)]
    await all_have(late[:3], last)
    last = await append(conn, held, 2, after=last)
    hub.news([held.response_id])
    await all_have([early, *late], last)

    assert early.seqs == late[0].seqs == list(range(last + 1))
    assert late[1].seqs == list(range(1, last + 1))
    assert late[2].seqs == list(range(1501, last + 1))
    assert late[3].seqs == [last - 1, last]
    for reader in [early, *late]:
        await connections.cancel_and_wait(reader.task)


async def test_a_slow_reader_holds_up_nobody_and_still_gets_everything(
    conn: Conn, hub: SharedHub
) -> None:
    held = await engine.start(conn)
    slow, quick = Reader(hub, held.response_id), Reader(hub, held.response_id)
    hub.news()
    await all_have([slow, quick], 1)
    slow.go_on.clear()
    last = held.last_seq
    for _ in range(5):  # far more than the feed keeps
        count = MAX_BUFFERED_EVENTS
        events = [engine.delta()] * count
        first = last + 1
        last = await append(conn, held, count, after=last)
        hub.publish(held.response_id, held.attempt, first, events)
        await all_have([quick], last)
    assert slow.seqs[-1] < last

    slow.go_on.set()
    await all_have([slow], last)
    assert slow.seqs == quick.seqs == list(range(last + 1))
    for reader in (slow, quick):
        await connections.cancel_and_wait(reader.task)


async def test_a_feed_with_a_gap_is_read_from_the_table(conn: Conn, hub: SharedHub) -> None:
    """Another attempt wrote something while this process owned the response."""
    held = await engine.start(conn)
    reader = Reader(hub, held.response_id)
    hub.news()
    await all_have([reader], 1)
    before = await append(conn, held, 1, after=1)
    own_events(hub, held, before, 1)
    await all_have([reader], before)
    missed = await append(conn, held, 3, after=before)
    last = await append(conn, held, 2, after=missed)
    own_events(hub, held, missed + 1, 2)

    await all_have([reader], last)
    assert reader.seqs == list(range(last + 1))
    await connections.cancel_and_wait(reader.task)


async def test_a_reader_of_a_lost_response_gets_what_its_new_owner_writes(
    conn: Conn, hub: SharedHub
) -> None:
    held = await engine.start(conn)
    hub.own(held.response_id)
    reader = Reader(hub, held.response_id)
    last = await append(conn, held, 2, after=held.last_seq)
    hub.disown(held.response_id)

    await all_have([reader], last)
    assert reader.seqs == list(range(last + 1))
    await connections.cancel_and_wait(reader.task)


async def test_readers_end_after_the_terminal_event(conn: Conn, hub: SharedHub) -> None:
    held = await engine.start(conn)
    readers = [Reader(hub, held.response_id, cursor=cursor) for cursor in (-1, 1, 50)]
    await wait_until(lambda: all(reader.has_begun for reader in readers))
    await engine.finish(conn, held)
    hub.news([held.response_id])

    await asyncio.wait_for(asyncio.gather(*[reader.task for reader in readers]), 30)
    assert [reader.seqs for reader in readers] == [[0, 1, 2], [2], []]
    assert hub.readers == 0 and hub._feeds == {}


async def test_deletion_ends_readers_wherever_it_was_done(conn: Conn, hub: SharedHub) -> None:
    held = await engine.start(conn)
    readers = [Reader(hub, held.response_id) for _ in range(3)]
    hub.news()
    await all_have(readers, 1)

    await queries.delete_response(conn, response_id=held.response_id, principal="")
    hub.news([held.response_id])

    await asyncio.wait_for(asyncio.gather(*[reader.task for reader in readers]), 30)
    assert all(reader.seqs == [0, 1] for reader in readers)


async def test_a_response_that_is_about_to_be_made_does_not_count_as_deleted(
    conn: Conn, hub: SharedHub
) -> None:
    """A POST opens its feed before it enqueues."""
    held = await engine.start(conn)
    reader = Reader(hub, held.response_id)
    async with hub.open(await engine.new_id(conn)) as unborn:
        await wait_until(lambda: reader.has_begun)
        last = await append(conn, held, 1, after=held.last_seq)
        hub.news()
        await all_have([reader], last)
        assert not unborn.deleted
    await connections.cancel_and_wait(reader.task)


async def test_a_reader_behind_the_buffer_of_a_deleted_response_ends(
    conn: Conn, hub: SharedHub
) -> None:
    held = await engine.start(conn)
    await queries.delete_response(conn, response_id=held.response_id, principal="")
    async with hub.open(held.response_id) as feed:
        feed.seen(100, finished=False)
        got = [batch async for batch in hub.follow(feed, -1, keep_alive=3600)]
        assert (got, feed.deleted) == ([], True)


async def test_when_the_process_stops_all_readers_are_let_go_later_ones_too(
    conn: Conn, hub: SharedHub
) -> None:
    held = await engine.start(conn)
    reader = Reader(hub, held.response_id)
    hub.news()
    await all_have([reader], 1)
    hub.close()
    await asyncio.wait_for(reader.task, 30)
    late = Reader(hub, held.response_id)  # its feed is a new one

    await asyncio.wait_for(late.task, 30)
    assert hub.readers == 0


def entries(first: int, count: int, *, size: int = 10) -> list[Entry]:
    return [
        Entry("resp_x", seq, 1, "response.custom", b"x" * size)
        for seq in range(first, first + count)
    ]


async def test_a_feed_keeps_a_bounded_number_of_events_and_bytes() -> None:
    many, large = Feed("resp_x"), Feed("resp_x")
    for number in range(100):
        many.extend(entries(number * 100, 100))
        large.extend(entries(number, 1, size=1 << 18))

    kept = [
        next(n for n in range(feed.last_seq) if feed.after(n) is not None) for feed in (many, large)
    ]
    assert many.last_seq - kept[0] <= 2 * MAX_BUFFERED_EVENTS
    assert large.last_seq - kept[1] <= 8
    assert [entry.seq for entry in many.after(9990) or []] == list(range(9991, 10_000))
    assert many.after(10_500) == []
