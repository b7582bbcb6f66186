"""The writer: what it tells whom, and what a refused response costs the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

import psycopg
import pytest

from pgdurable.database import connections, queries
from pgdurable.errors import LeaseLost
from pgdurable.events import writer
from pgdurable.events.writer import Log, Stop, Writer
from pgdurable.models import ClaimedResponse, NewEvent
from tests.support import engine
from tests.support.clock import Clock
from tests.support.engine import Conn, Logged
from tests.support.waiting import wait_until


class Office:
    """A running writer, and what it has told its readers, the others, and the attempts."""

    def __init__(self, dsn: str) -> None:
        self.published: list[tuple[str, int, int, int]] = []
        self.woken: list[str] = []
        self.stops: list[tuple[str, Stop]] = []
        self.writer = Writer(dsn, lease=engine.LEASE, publish=self._publish, wake=self._wake)

    def log(self, held: ClaimedResponse) -> Log:
        """The end of the log that this attempt writes."""

        def on_stop(stop: Stop) -> None:
            self.stops.append((held.response_id, stop))

        return Log(self.writer, held.response_id, held.attempt, held.last_seq, on_stop)

    def _publish(
        self, response_id: str, attempt: int, first_seq: int, events: Sequence[NewEvent]
    ) -> None:
        self.published.append((response_id, attempt, first_seq, len(events)))

    def _wake(self, ids: Iterable[str]) -> None:
        self.woken += ids


@pytest.fixture
async def office(dsn: str) -> AsyncIterator[Office]:
    opened = Office(dsn)
    writing = asyncio.create_task(opened.writer.run())
    yield opened
    await connections.cancel_and_wait(writing)


async def test_what_is_stored_is_published_and_woken_once(conn: Conn, office: Office) -> None:
    held = await engine.start(conn)
    log = office.log(held)
    log.append([engine.delta("a"), engine.delta("b")])
    await log.flushed()
    log.append([engine.delta("c")])
    assert await log.finish(engine.terminal())

    assert office.published == [(held.response_id, 1, 2, 2), (held.response_id, 1, 4, 2)]
    assert office.woken == [held.response_id] * 2
    assert office.stops == []
    assert [event.seq for event in await engine.log_of(conn, held.response_id)] == [*range(6)]


async def test_nothing_is_published_before_it_is_committed(
    dsn: str, conn: Conn, office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    held = await engine.start(conn)
    log = office.log(held)
    async with await psycopg.AsyncConnection.connect(dsn) as person:
        await person.execute("lock table pgdurable.events in share mode")
        log.append([engine.delta()])
        await wait_until(lambda: "flush_retried" in caplog.text)
        assert (office.published, office.woken) == ([], [])
    await log.flushed()
    assert len(office.published) == len(office.woken) == 1


async def test_a_lost_log_tells_its_attempt_and_nobody_else_and_takes_nothing_more(
    conn: Conn, clock: Clock, office: Office
) -> None:
    held, other = await engine.start(conn), await engine.start(conn)
    clock.advance(engine.PAST_LEASE)
    await engine.take_over(conn, limit=100)
    before = await engine.log_of(conn, held.response_id)
    log, ending = office.log(held), office.log(other)
    log.append([engine.delta()])
    await log.flushed()

    assert not await ending.finish(engine.terminal())
    assert office.stops == [(held.response_id, "lost"), (other.response_id, "lost")]
    with pytest.raises(LeaseLost):
        log.append([engine.delta()])
    assert not await log.finish(engine.terminal())
    assert len(office.stops) == 2, "it was handed to the next flush, and refused again"
    assert (office.published, office.woken) == ([], [])
    assert await engine.log_of(conn, held.response_id) == before


async def test_an_end_that_an_unanswered_flush_has_written_is_ours(
    conn: Conn, office: Office
) -> None:
    """Written here as that flush did; the append in its repetition is refused, and not heeded."""
    held = await engine.start(conn)
    await engine.append(conn, held, engine.delta())
    assert (await engine.finish(conn, held, after=2)).outcome == "ok"
    log = office.log(held)
    log.append([engine.delta()])
    assert await log.finish(engine.terminal())
    assert office.published == [(held.response_id, 1, 2, 2)]
    assert office.stops == []
    assert len(await engine.log_of(conn, held.response_id)) == 4


async def test_what_was_said_while_somebody_held_the_row_follows_when_they_let_go(
    dsn: str, conn: Conn, office: Office
) -> None:
    held = await engine.start(conn)
    log = office.log(held)
    async with await psycopg.AsyncConnection.connect(dsn) as person:
        await person.execute("select from pgdurable.responses for update")
        log.append([engine.delta("held")])
        await wait_until(lambda: log.held)
        log.append([engine.delta("meanwhile")])
        finishing = asyncio.create_task(log.finish(engine.terminal()))
    assert await finishing
    last = await engine.last_event(conn, held.response_id)
    assert last["type"] == "response.completed"
    assert office.published == [(held.response_id, 1, 2, 1), (held.response_id, 1, 3, 2)]


async def test_a_cancel_is_told_and_what_was_said_before_is_stored(
    conn: Conn, office: Office
) -> None:
    held = await engine.start(conn)
    await queries.cancel_response(conn, response_id=held.response_id, principal="")
    log = office.log(held)
    log.append([engine.delta()])
    await log.flushed()
    assert office.stops == [(held.response_id, "cancel")]
    assert (await engine.log_of(conn, held.response_id))[-1] == Logged(2, 1, engine.delta().type)


@pytest.mark.parametrize("body", [b"{no JSON", b"[" * 50_000 + b"]" * 50_000])
async def test_what_postgres_refuses_costs_its_own_response_only(
    conn: Conn, office: Office, body: bytes
) -> None:
    """All of it goes out in one flush, because nothing is awaited in between."""
    held = [await engine.start(conn) for _ in range(5)]
    logs = [office.log(response) for response in held]
    for number, log in enumerate(logs):
        log.append([engine.delta() if number != 2 else NewEvent("x", None, body)])
    await asyncio.gather(*[log.flushed() for log in logs])

    assert [log.lost for log in logs] == [False, False, True, False, False]
    assert office.stops == [(held[2].response_id, "lost")]
    last = [(await engine.log_of(conn, response.response_id))[-1].type for response in held]
    assert last == [engine.delta().type] * 2 + ["response.failed"] + [engine.delta().type] * 2


async def test_a_call_whose_function_a_migration_replaces_meanwhile_is_made_again(
    conn: Conn, office: Office
) -> None:
    held = await engine.start(conn)
    await conn.execute("create sequence pgdurable.calls")
    await conn.execute(
        """
        create function pgdurable.stumble() returns boolean language plpgsql as $$
        begin
          if nextval('pgdurable.calls') = 1 then
            raise 'cache lookup failed for type 1' using errcode = 'XX000';
          end if;
          return true;
        end;
        $$
        """
    )
    await conn.execute(
        "alter table pgdurable.events add constraint once check (pgdurable.stumble()) not valid"
    )
    log = office.log(held)
    log.append([engine.delta("a")])
    assert await log.finish(engine.terminal())

    assert office.stops == []
    assert [event.seq for event in await engine.log_of(conn, held.response_id)] == [*range(4)]


@pytest.mark.parametrize("limit", ["MAX_BUFFERED_EVENTS", "MAX_BUFFERED_BYTES"])
async def test_a_full_buffer_has_room_again_with_the_next_flush(
    conn: Conn, office: Office, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    event = engine.delta()
    monkeypatch.setattr(writer, limit, 3 if limit.endswith("EVENTS") else 3 * len(event.body))
    log = office.log(await engine.start(conn))
    log.append([event] * 2)
    assert not office.writer.full
    log.append([event])
    assert office.writer.full
    async with asyncio.timeout(30):
        await office.writer.room()
    assert not office.writer.full
    await log.flushed()
    assert office.published == [(log.response_id, 1, 2, 3)]
