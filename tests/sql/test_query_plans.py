"""Every hot statement uses its index and looks at as many rows as it needs.

Also in the worst of cases: a session whose cached plans date from empty tables that nobody has
analyzed, and that have grown since.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import NamedTuple

import psycopg
import pytest

from pgdurable.database import connections, queries
from pgdurable.database.queries import Append, Finish
from pgdurable.models import ClaimedResponse
from tests.support.clock import Clock
from tests.support.engine import (
    LEASE,
    PAST_LEASE,
    Conn,
    append,
    claim,
    delta,
    done,
    enqueue,
    enqueue_all,
    finish,
    new_response,
    start,
    take_over,
    terminal,
)
from tests.support.plans import TURN_ON, Plans, explain, watched

GROWN = 4000
HISTORY_TABLES = ("responses", "requests", "events", "attempts", "conversation_aliases")


@pytest.fixture
async def session(dsn: str) -> AsyncIterator[Conn]:
    """One session for the whole test, so that its plans are cached early."""
    async with await connections.connect(dsn, name="session") as conn:
        try:
            await conn.execute(TURN_ON)
        except psycopg.errors.UndefinedFile:
            pytest.skip("this Postgres has no auto_explain")
        explain(conn)
        yield conn


class Call(NamedTuple):
    """A call to watch; `indexes` are those it may use, `rows` how many rows it may look at."""

    run: Callable[[Conn, list[ClaimedResponse]], Awaitable[object]]
    indexes: dict[str, set[str]]
    rows: int


PKEYS = {
    "responses": {"responses_pkey", "responses_principal_idx"},
    "requests": {"requests_pkey"},
    "attempts": {"attempts_pkey"},
    "events": {"events_pkey"},
    "conversation_aliases": {"conversation_aliases_pkey"},
}


def also(**more: set[str]) -> dict[str, set[str]]:
    return {table: PKEYS.get(table, set()) | more.get(table, set()) for table in PKEYS | more}


async def _append(conn: Conn, held: list[ClaimedResponse]) -> object:
    appends = [Append(h.response_id, h.attempt, h.last_seq, [delta()] * 3) for h in held]
    results = await queries.append_events(conn, appends, lease=LEASE)
    assert {result.outcome for result in results} == {"ok"}
    return results


async def _finish(conn: Conn, held: list[ClaimedResponse]) -> object:
    finishes = [Finish(h.response_id, h.attempt, h.last_seq, terminal()) for h in held]
    results = await queries.finish_responses(conn, finishes)
    assert {result.outcome for result in results} == {"ok"}
    return results


async def _heartbeat(conn: Conn, held: list[ClaimedResponse]) -> object:
    return await conn.execute(
        "select * from pgdurable.heartbeat('a', %s, %s, interval '10s')",
        [[h.response_id for h in held], [h.attempt for h in held]],
    )


async def _release(conn: Conn, held: list[ClaimedResponse]) -> object:
    return await queries.release_responses(conn, attempts={h.response_id: h.attempt for h in held})


async def _enqueue(conn: Conn, held: list[ClaimedResponse]) -> object:
    return await enqueue(conn, key=f"new {held[0].response_id}", queue="elsewhere")


async def _cancel(conn: Conn, held: list[ClaimedResponse]) -> object:
    return await queries.cancel_response(conn, response_id=held[0].response_id, principal="")


async def _delete(conn: Conn, held: list[ClaimedResponse]) -> object:
    await queries.delete_response(conn, response_id=held[0].response_id, principal="")
    return None


async def _read_events(conn: Conn, held: list[ClaimedResponse]) -> object:
    return await queries.read_events(conn, {h.response_id: 0 for h in held}, limit=10)


async def _get_response(conn: Conn, held: list[ClaimedResponse]) -> object:
    return await queries.get_response(conn, response_id=held[0].response_id, principal="")


async def _previous_events(conn: Conn, held: list[ClaimedResponse]) -> object:
    return await queries.previous_events(conn, response_id=held[0].response_id, attempt=2)


async def _read_items(conn: Conn, held: list[ClaimedResponse]) -> object:
    return await queries.read_items(conn, principal="", item_ids=["msg_1", "msg_7"])


async def _existing(conn: Conn, held: list[ClaimedResponse]) -> object:
    return await queries.existing_responses(conn, [h.response_id for h in held])


async def _read_chain(conn: Conn, held: list[ClaimedResponse]) -> object:
    return await queries.read_chain(conn, principal="", previous_response_id=held[0].response_id)


async def _list(conn: Conn, held: list[ClaimedResponse]) -> object:
    return await queries.list_responses(
        conn,
        principal="",
        status=None,
        conversation_id=None,
        metadata=None,
        after=held[0].response_id,
        limit=5,
        ascending=False,
    )


async def _conversation(conn: Conn, held: list[ClaimedResponse]) -> object:
    return await queries.get_conversation(conn, principal="", base="c7")


async def _resolve(conn: Conn, held: list[ClaimedResponse]) -> object:
    return await queries.resolve_conversation_alias(conn, principal="", base="c7")


KEYS = {"idempotency_keys_pkey", "idempotency_keys_response_idx"}
IN_PROGRESS = {"responses_in_progress_idx"}
CALLS: dict[str, Call] = {
    "append_events": Call(_append, also(responses=IN_PROGRESS), 60),
    "finish_responses": Call(_finish, also(responses=IN_PROGRESS), 60),
    "heartbeat": Call(_heartbeat, also(responses=IN_PROGRESS, workers={"workers_pkey"}), 60),
    "release_responses": Call(_release, also(responses=IN_PROGRESS), 60),
    "enqueue_responses": Call(_enqueue, also(idempotency_keys=KEYS), 20),
    "cancel_response": Call(_cancel, also(), 20),
    "delete_response": Call(
        _delete,
        also(idempotency_keys=KEYS, responses={"responses_conversation_idx"}),
        40,
    ),
    "read_events": Call(_read_events, also(), 60),
    "get_response": Call(_get_response, also(events={"events_item_idx"}), 40),
    "previous_events": Call(_previous_events, also(), 20),
    "read_items": Call(_read_items, also(events={"events_item_idx"}), 40),
    "existing_responses": Call(_existing, also(), 20),
    "read_chain": Call(_read_chain, also(), 20),
    "list_responses": Call(_list, also(), GROWN + 200),
    "get_conversation": Call(
        _conversation, also(responses={"responses_conversation_idx"}), GROWN // 500 + 200
    ),
    "resolve_conversation_alias": Call(_resolve, also(), 5),
}


async def grow(conn: Conn) -> None:
    """A history, as bulk SQL: finished responses with events, attempts, keys and aliases."""
    await conn.execute(
        """
        set session_replication_role = replica;
        create temporary table grown as
        select n, pgdurable._first_response_id(now() - interval '1 day' + n * interval '1 second')
          || '7' || substr(md5(n::text), 1, 19) as id
        from generate_series(1, %(grown)s) as n;
        insert into pgdurable.responses
          (response_id, status, attempt, last_seq, available_at, conversation_id, created_at,
           started_at, finished_at)
        select id, 'completed', 1, 4, now(), 'c' || n %% 500, now(), now(), now() from grown;
        insert into pgdurable.requests (response_id, body, fields) select id, '{}', '{}' from grown;
        insert into pgdurable.attempts
        select id, 1, 'w', 'claim', false, id, now(), now(), 'completed' from grown;
        insert into pgdurable.events
        select id, seq, 1, 'x', case when seq = 3 then 'msg_' || n end, '{}', now()
        from grown, generate_series(0, 4) as seq;
        insert into pgdurable.conversation_aliases
        select '', 'c' || n, 'd', id, now() from grown where n < 500;
        insert into pgdurable.idempotency_keys select '', 'k' || n, 'h', id, now() from grown;
        set session_replication_role = origin;
        """.replace("%(grown)s", str(GROWN))
        .replace("%%", "%")
        .encode()
    )


async def in_progress(conn: Conn, clock: Clock, count: int = 5) -> list[ClaimedResponse]:
    for _ in range(count):
        await enqueue(conn, conversation="c7")
    return await claim(conn, limit=count)


def check(name: str, plans: Plans, indexes: dict[str, set[str]], rows: int) -> None:
    assert plans.scans, f"{name} read nothing"
    assert plans.whole_tables <= {"clock"}, f"{name} read whole tables"
    assert not plans.compiled, f"{name} was compiled"
    for table in {scan.relation for scan in plans.scans} - {"clock"}:
        used = plans.indexes(table)
        assert used <= indexes.get(table, set()), f"{name} reads {table} by {used}"
        assert plans.rows(table) <= rows, f"{name}: {plans.rows(table)} rows of {table}"


@pytest.mark.parametrize("analyzed", [False, True], ids=["never analyzed", "analyzed when tiny"])
@pytest.mark.parametrize("name", CALLS)
async def test_it_uses_its_index_however_old_its_plan_is(
    db: Conn, session: Conn, clock: Clock, name: str, analyzed: bool
) -> None:
    call = CALLS[name]
    for table in (*HISTORY_TABLES, "idempotency_keys"):
        await db.execute(f"alter table pgdurable.{table} set (autovacuum_enabled = off)".encode())
    if analyzed:
        await in_progress(db, clock, 2)
        await db.execute("vacuum analyze")
    for _ in range(7):  # after five a cached plan may become a generic one
        await call.run(session, await in_progress(db, clock))
    await grow(db)
    held = await in_progress(db, clock)
    with watched(session) as plans:
        await call.run(session, held)
    check(name, plans, call.indexes, call.rows)
    if analyzed:
        await db.execute("analyze")
        held = await in_progress(db, clock)
        with watched(session) as plans:
            await call.run(session, held)
        check(name, plans, call.indexes, call.rows)


async def test_a_page_of_a_list_is_one_index_range(db: Conn, session: Conn, clock: Clock) -> None:
    await grow(db)
    held = await in_progress(db, clock)
    await db.execute("analyze")
    with watched(session) as plans:
        await _list(session, held)
    check("list_responses", plans, also(), 20)


async def test_a_list_by_metadata_reads_no_other_requests(
    db: Conn, session: Conn, clock: Clock
) -> None:
    await grow(db)
    marked = await enqueue(db, metadata=b'{"team":"red"}')
    await db.execute("analyze")
    with watched(session) as plans:
        rows = await session.execute(
            "select l.response_id from pgdurable.list_responses(p_metadata => %s) as l",
            ['{"team":"red"}'],
        )
        assert await rows.fetchall() == [(marked,)]
    used = also(requests={"requests_metadata_idx"})
    check("list_responses", plans, used, GROWN + 10)
    assert plans.rows("requests") < 10


@pytest.mark.parametrize("analyzed", [False, True], ids=["never analyzed", "analyzed when tiny"])
async def test_a_claim_looks_at_as_many_rows_as_it_takes(
    db: Conn, session: Conn, analyzed: bool
) -> None:
    for table in HISTORY_TABLES:
        await db.execute(f"alter table pgdurable.{table} set (autovacuum_enabled = off)".encode())
    if analyzed:
        await start(db)
        await db.execute("vacuum analyze")
    for _ in range(7):
        await enqueue(db)
        await claim(session, limit=1)
    await grow(db)
    for _ in range(10):
        await enqueue_all(db, [await new_response(db) for _ in range(200)])
    for limit in (1, 20):
        with watched(session) as plans:
            assert len(await claim(session, limit=limit)) == limit
        check(
            "claim_responses",
            plans,
            also(responses={"responses_claimable_by_agent_idx"}),
            9 * limit,
        )
        assert "responses_claimable_by_agent_idx" in plans.indexes("responses")


async def test_without_enable_seqscan_off_a_claim_reads_every_request(
    db: Conn, session: Conn
) -> None:
    """Why the functions set it: a plan of a tiny table, kept."""
    await db.execute("alter function pgdurable.claim_responses reset enable_seqscan")
    for table in HISTORY_TABLES:
        await db.execute(f"alter table pgdurable.{table} set (autovacuum_enabled = off)".encode())
    await start(db)
    await db.execute("vacuum analyze")
    for _ in range(7):
        await enqueue(db)
        await claim(session, limit=1)
    await grow(db)
    await enqueue(db)
    with watched(session) as plans:
        assert len(await claim(session, limit=1)) == 1
    assert "requests" in plans.whole_tables and plans.rows("requests") > GROWN


async def test_without_any_beside_its_join_an_append_reads_all_that_is_in_progress(
    db: Conn, session: Conn, clock: Clock
) -> None:
    """Why the ids are named twice."""
    for name in ("append_events", "_write_events"):
        rows = await db.execute(
            "select pg_get_functiondef(p.oid) from pg_proc as p where p.proname = %s", [name]
        )
        ((source,),) = await rows.fetchall()
        shorter = re.sub(r"r\.response_id = any\(p_response_ids\)\s+and ", "", source)
        assert shorter != source
        await db.execute(shorter.encode())
    others = await in_progress(db, clock, 30)
    held = await in_progress(db, clock)
    with watched(session) as plans:
        await _append(session, held)
    assert plans.rows("responses") > len(others) + 2 * len(held)


@pytest.mark.parametrize("analyzed", [False, True], ids=["never analyzed", "analyzed when tiny"])
async def test_a_takeover_looks_at_what_is_in_progress(
    db: Conn, session: Conn, clock: Clock, analyzed: bool
) -> None:
    for table in HISTORY_TABLES:
        await db.execute(f"alter table pgdurable.{table} set (autovacuum_enabled = off)".encode())
    if analyzed:
        await start(db)
        await db.execute("vacuum analyze")
    for _ in range(7):
        held = await start(db, conversation="d9")
        await append(db, held, delta(), done("msg_1"))
        clock.advance(PAST_LEASE)
        for taken in await take_over(session):
            await finish(db, taken)
    await grow(db)
    for _ in range(30):
        held = await start(db, conversation="d9")
        await append(db, held, delta())
    clock.advance(PAST_LEASE)
    with watched(session) as plans:
        assert len(await take_over(session, limit=5)) == 5
    wanted = also(
        responses={"responses_in_progress_idx", "responses_deadline_idx"},
        events={"events_item_idx"},
        workers={"workers_pkey"},
        presences={"presences_pkey"},
    )
    check("take_over_responses", plans, wanted, 12 * 30)
    assert "responses_in_progress_idx" in plans.indexes("responses")


PRUNED = also(
    idempotency_keys=KEYS,
    responses={
        "responses_conversation_idx",
        "responses_in_progress_idx",
        "responses_principal_idx",
        "responses_unstored_idx",
    },
    workers={"workers_pkey"},
)


async def test_pruning_looks_at_old_rows_only(db: Conn, session: Conn, clock: Clock) -> None:
    await db.execute("alter table pgdurable.responses set (autovacuum_enabled = off)")
    for _ in range(7):
        await queries.prune_responses(session, older_than=timedelta(days=1), limit=10)
    await grow(db)
    clock.advance(timedelta(days=2))
    with watched(session) as plans:
        pruned = await queries.prune_responses(session, older_than=timedelta(days=1), limit=10)
    assert pruned == 10
    check("prune_responses", plans, PRUNED, 100)


async def test_pruning_looks_at_nothing_that_is_too_young(
    db: Conn, session: Conn, clock: Clock
) -> None:
    await grow(db)
    clock.advance(timedelta(hours=2))
    with watched(session) as plans:
        assert await queries.prune_responses(session, older_than=timedelta(days=30), limit=10) == 0
    check("prune_responses", plans, PRUNED, 0)
