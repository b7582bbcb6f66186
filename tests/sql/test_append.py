"""sql/40_append.sql: the fenced log."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from pgdurable.database import connections, queries
from pgdurable.database.queries import Append
from pgdurable.models import NewEvent
from tests.support.clock import Clock
from tests.support.engine import (
    LEASE,
    PAST_LEASE,
    Conn,
    append,
    delta,
    done,
    enqueue,
    finish,
    log_of,
    release,
    start,
    state,
    take_over,
    types_of,
    value,
)


async def stored_bodies(db: Conn, response_id: str) -> list[bytes]:
    rows = await db.execute(
        "select e.body from pgdurable.events as e"
        " where e.response_id = %s and e.seq > 1 order by e.seq",
        [response_id],
    )
    return [row[0] for row in await rows.fetchall()]


async def test_events_get_the_next_numbers_in_order(db: Conn) -> None:
    held = await start(db)
    first = await append(db, held, delta("a"), delta("b"))
    second = await append(db, held, done("msg_1"), after=3)
    assert (first.outcome, first.last_seq, second.outcome, second.last_seq) == ("ok", 3, "ok", 4)
    assert [(event.seq, event.attempt) for event in await log_of(db, held.response_id)] == [
        (0, 0),
        (1, 1),
        (2, 1),
        (3, 1),
        (4, 1),
    ]
    assert await stored_bodies(db, held.response_id) == [
        delta("a").body,
        delta("b").body,
        done("msg_1").body,
    ]
    assert (await state(db, held.response_id))["last_seq"] == 4


async def test_only_closed_items_carry_their_id(db: Conn) -> None:
    held = await start(db)
    await append(db, held, delta(), done("msg_1"), delta())
    rows = await db.execute(
        "select e.item_id from pgdurable.events as e where e.seq > 1 order by e.seq"
    )
    assert [row[0] for row in await rows.fetchall()] == [None, "msg_1", None]


async def test_an_append_renews_the_lease(db: Conn, clock: Clock) -> None:
    held = await start(db)
    clock.advance(timedelta(seconds=5))
    before = clock.now()
    await append(db, held)
    assert (await state(db, held.response_id))["lease_expires_at"] >= before + LEASE


async def test_the_same_append_again_writes_nothing_and_is_answered_the_same(db: Conn) -> None:
    held = await start(db)
    first = await append(db, held, delta("a"), delta("b"))
    again = await append(db, held, delta("a"), delta("b"))
    assert again == first
    assert len(await log_of(db, held.response_id)) == 4


async def test_any_other_place_in_the_log_is_lost(db: Conn) -> None:
    held = await start(db)
    await append(db, held, delta(), delta(), delta())
    for after in (-1, 0, 1, 2, 5, 100):
        assert (await append(db, held, after=after)).outcome == "lost"
    assert len(await log_of(db, held.response_id)) == 5


async def test_only_the_attempt_that_holds_it_may(db: Conn, clock: Clock) -> None:
    held = await start(db)
    stale, future = held, await start(db)
    clock.advance(PAST_LEASE)
    await take_over(db)
    assert (await append(db, stale)).outcome == "lost"
    (never,) = await queries.append_events(
        db, [Append(future.response_id, 7, 2, [delta()])], lease=LEASE
    )
    assert never.outcome == "lost"


async def test_nothing_is_appended_to_what_is_not_in_progress(db: Conn) -> None:
    queued = await enqueue(db)
    results = await queries.append_events(
        db, [Append(queued, 0, 0, [delta()]), Append("resp_x", 1, 0, [delta()])], lease=LEASE
    )
    assert [result.outcome for result in results] == ["lost", "lost"]
    await queries.delete_response(db, response_id=queued, principal="")
    held = await start(db)
    await release(db, held)
    assert (await append(db, held)).outcome == "lost"
    await queries.delete_response(db, response_id=held.response_id, principal="")
    finished = await start(db)
    await finish(db, finished)
    assert (await append(db, finished, after=2)).outcome == "lost"


async def test_one_that_was_asked_to_stop_is_written_and_told(db: Conn) -> None:
    held = await start(db)
    await queries.cancel_response(db, response_id=held.response_id, principal="")
    result = await append(db, held)
    assert (result.outcome, result.last_seq) == ("cancel", 2)
    assert (await append(db, held)).outcome == "cancel"
    assert len(await log_of(db, held.response_id)) == 3


async def test_a_refused_response_does_not_fail_the_others(db: Conn, clock: Clock) -> None:
    stale = await start(db)
    clock.advance(PAST_LEASE)
    await take_over(db)
    first, last = await start(db), await start(db)
    results = await queries.append_events(
        db,
        [
            Append(first.response_id, 1, 1, [delta("1"), delta("2")]),
            Append(stale.response_id, 1, 1, [delta("stale")] * 3),
            Append("resp_unknown", 1, 1, [delta("unknown")]),
            Append(last.response_id, 1, 1, [delta("3")]),
        ],
        lease=LEASE,
    )
    assert [result.outcome for result in results] == ["ok", "lost", "lost", "ok"]
    assert await stored_bodies(db, first.response_id) == [delta("1").body, delta("2").body]
    assert await stored_bodies(db, last.response_id) == [delta("3").body]
    assert (
        await value(
            db, "select count(*) from pgdurable.events as e where e.body::text ~ 'stale|unknown'"
        )
        == 0
    )


@pytest.mark.parametrize("counts", [[1], [3, 0, 2], [0, 0, 1], [1, 0, 0], [5, 40, 1, 0, 7]])
async def test_each_response_gets_its_own_lines(db: Conn, counts: list[int]) -> None:
    held = [await start(db) for _ in counts]
    results = await queries.append_events(
        db,
        [
            Append(h.response_id, 1, 1, [delta(f"{n}.{k}") for k in range(count)])
            for n, (h, count) in enumerate(zip(held, counts, strict=True))
        ],
        lease=LEASE,
    )
    assert [(r.outcome, r.last_seq) for r in results] == [("ok", 1 + count) for count in counts]
    for n, (h, count) in enumerate(zip(held, counts, strict=True)):
        wanted = [delta(f"{n}.{k}").body for k in range(count)]
        assert await stored_bodies(db, h.response_id) == wanted


async def test_no_events_at_all_only_lock_the_row(db: Conn, clock: Clock) -> None:
    held = await start(db)
    before = await state(db, held.response_id)
    clock.advance(timedelta(seconds=5))
    (result,) = await queries.append_events(db, [Append(held.response_id, 1, 1, [])], lease=LEASE)
    assert (result.outcome, result.last_seq) == ("ok", 1)
    assert await state(db, held.response_id) == before
    assert await queries.append_events(db, [], lease=LEASE) == []


@pytest.mark.parametrize(
    "body",
    [
        rb'{"d":"a\u0000b"}',
        b'{"n":1e100000}',
        b'{"n":1e400000}',
        rb'{"d":"\ud800"}',
        b'{"a":-0,"a":1}',
    ],
)
async def test_a_body_is_stored_byte_for_byte(db: Conn, body: bytes) -> None:
    held = await start(db)
    assert (await append(db, held, NewEvent("odd", None, body))).outcome == "ok"
    assert await stored_bodies(db, held.response_id) == [body]
    (read,) = await queries.read_events(db, {held.response_id: 1})
    assert read.body == body


@pytest.mark.parametrize(
    ("types", "bodies"),
    [("a", "{}\n{}"), ("a\nb\nc", "{}\n{}"), ("", "")],
)
async def test_lines_that_do_not_add_up_are_refused_and_leave_no_gap(
    db: Conn, types: str, bodies: str
) -> None:
    held = await start(db)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="adds up to 2 events"):
        await db.execute(
            "select * from pgdurable.append_events(array[%s], array[1], array[1::bigint], array[2],"
            " %s, '', %s, interval '10s')",
            [held.response_id, types, bodies],
        )
    assert (await state(db, held.response_id))["last_seq"] == 1


async def test_what_is_not_json_is_refused_as_a_whole(db: Conn) -> None:
    held = await start(db)
    for body in (b"nonsense", b"NaN", b'{"a":\n1}'):
        with pytest.raises(psycopg.Error):
            await append(db, held, delta(), NewEvent("odd", None, body))
    assert await types_of(db, held.response_id) == ["response.created", "response.in_progress"]
    assert (await append(db, held)).outcome == "ok"


async def test_a_thousand_events_of_many_responses_go_in_one_call(db: Conn) -> None:
    held = [await start(db) for _ in range(40)]
    results = await queries.append_events(
        db, [Append(h.response_id, 1, 1, [delta()] * 25) for h in held], lease=LEASE
    )
    assert {result.outcome for result in results} == {"ok"}
    per_response = await value(
        db,
        "select array_agg(distinct s.seqs) from (select array_agg(e.seq order by e.seq) as seqs"
        " from pgdurable.events as e group by e.response_id) as s",
    )
    assert per_response == [list(range(27))]


async def test_one_event_by_hand_gets_the_next_number_and_its_readers_are_told(
    dsn: str, db: Conn
) -> None:
    held = await start(db)
    async with await connections.connect(dsn, name="listener") as listener:
        await listener.execute("listen pgdurable_tail")
        seqs = [
            await value(
                db,
                "select pgdurable.append_event(%s, 1, %s, %s)",
                held.response_id,
                kind,
                body,
            )
            for kind, body in (
                ("custom.note", '{\n"type":\r\n"custom.note"}'),
                (
                    "response.output_item.done",
                    '{"type":"response.output_item.done","item":{"id":"msg_1"}}',
                ),
            )
        ]
        heard = [n.payload async for n in listener.notifies(timeout=10, stop_after=2)]
    assert seqs == [2, 3] and heard == [held.response_id] * 2
    rows = await db.execute(
        "select e.body::text, e.item_id from pgdurable.events as e where e.seq > 1 order by e.seq"
    )
    assert [(b"\n" in body.encode(), item) for body, item in await rows.fetchall()] == [
        (False, None),
        (False, "msg_1"),
    ]
    assert (await append(db, held, after=3)).outcome == "ok", "the batch goes on from there"


async def test_one_event_by_hand_is_refused_when_the_attempt_does_not_hold_the_response(
    db: Conn,
) -> None:
    held = await start(db)
    before = await log_of(db, held.response_id)
    for attempt, response_id in ((0, held.response_id), (2, held.response_id), (1, "resp_0")):
        with pytest.raises(psycopg.Error) as caught:
            await db.execute(
                "select pgdurable.append_event(%s, %s, 'x', '{}')", [response_id, attempt]
            )
        assert caught.value.sqlstate == "PD002"
    assert await log_of(db, held.response_id) == before
