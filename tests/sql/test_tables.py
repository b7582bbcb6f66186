"""sql/02_tables.sql: each constraint refuses, by its name; the hot row stays heap-only."""

from __future__ import annotations

from datetime import timedelta
from typing import LiteralString

import psycopg
import pytest
from psycopg.errors import CheckViolation, ForeignKeyViolation, IntegrityError, UniqueViolation

from pgdurable.database import queries
from tests.support.clock import Clock
from tests.support.engine import (
    Conn,
    append,
    attempts_of,
    claim,
    enqueue,
    finish,
    release,
    start,
    state,
    take_over,
    value,
)

# Each is tried on a response that is in progress at attempt 1, with last_seq 1.
REFUSED: dict[str, LiteralString] = {
    "status_is_known": "status = 'done', lease_expires_at = null, worker_id = null",
    "leased_exactly_while_in_progress": "lease_expires_at = null",
    "owned_exactly_while_in_progress": "worker_id = null",
    "finished_exactly_when_terminal": "finished_at = now()",
    "attempted_before_in_progress": "started_at = null",
    "failed_attempts_were_attempts": "failed_attempts = 2",
    "max_attempts_is_positive": "max_attempts = 0",
    "last_seq_is_never_negative": "last_seq = -1",
    "response_id_is_well_formed": "response_id = 'resp_1'",
    "started_not_before_created": "started_at = created_at - interval '1 s'",
    "finished_not_before_started": (
        "status = 'failed', lease_expires_at = null, worker_id = null,"
        " finished_at = started_at - interval '1 us'"
    ),
}
# And these on one that is still queued.
REFUSED_WHILE_QUEUED: dict[str, LiteralString] = {
    "leased_exactly_while_in_progress": "lease_expires_at = now()",
    "owned_exactly_while_in_progress": "worker_id = 'w'",
    "finished_exactly_when_terminal": "status = 'cancelled'",
    "attempted_before_in_progress": (
        "status = 'in_progress', worker_id = 'w', lease_expires_at = now()"
    ),
    "failed_attempts_were_attempts": "failed_attempts = 1",
}
ATTEMPTS: dict[str, LiteralString] = {
    "reason_is_known": "reason = 'because'",
    "outcome_is_known": "outcome = 'gone', ended_at = now()",
    "company_only_when_lost": "outcome = 'completed', ended_at = started_at, company = 1",
    "outcome_exactly_when_ended": "outcome = 'lost'",
    "ended_not_before_started": "outcome = 'lost', ended_at = started_at - interval '1 us'",
}


async def refused(db: Conn, statement: LiteralString, *args: object) -> str | None:
    with pytest.raises(IntegrityError) as caught:
        await db.execute(statement, args)
    return caught.value.diag.constraint_name


@pytest.mark.parametrize("name", REFUSED)
async def test_a_running_response_keeps_its_constraint(db: Conn, name: str) -> None:
    held = await start(db)
    await db.execute("delete from pgdurable.requests")  # or its foreign key refuses a new id first
    await db.execute("delete from pgdurable.attempts")
    change = REFUSED[name]
    assert name == await refused(
        db, f"update pgdurable.responses set {change} where response_id = %s", held.response_id
    )


@pytest.mark.parametrize("name", REFUSED_WHILE_QUEUED)
async def test_a_queued_response_keeps_its_constraint(db: Conn, name: str) -> None:
    await enqueue(db)
    assert name == await refused(db, f"update pgdurable.responses set {REFUSED_WHILE_QUEUED[name]}")


async def test_a_finished_response_cannot_go_back(db: Conn) -> None:
    held = await start(db)
    await finish(db, held)
    for change in ("status = 'queued'", "status = 'in_progress'", "finished_at = null"):
        with pytest.raises(CheckViolation):
            await db.execute(f"update pgdurable.responses set {change}".encode())


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_an_attempt_keeps_its_constraint(db: Conn, name: str) -> None:
    await start(db)
    assert name == await refused(db, f"update pgdurable.attempts set {ATTEMPTS[name]}")


async def test_a_request_and_an_attempt_belong_to_a_response(db: Conn) -> None:
    for constraint, statement in (
        (
            "request_belongs_to_a_response",
            "insert into pgdurable.requests (response_id, body, fields) values ('x', '{}', '{}')",
        ),
        (
            "attempt_belongs_to_a_response",
            "insert into pgdurable.attempts (response_id, attempt, worker_id, reason, resumed,"
            " conversation_id, started_at) values ('x', 1, 'w', 'claim', false, 'c', now())",
        ),
    ):
        with pytest.raises(ForeignKeyViolation) as caught:
            await db.execute(statement.encode())
        assert caught.value.diag.constraint_name == constraint


KEYS: dict[str, LiteralString] = {
    "responses_pkey": "insert into pgdurable.responses select * from pgdurable.responses",
    "requests_pkey": "insert into pgdurable.requests select * from pgdurable.requests",
    "events_pkey": "insert into pgdurable.events select * from pgdurable.events limit 1",
    "attempts_pkey": "insert into pgdurable.attempts select * from pgdurable.attempts",
    "idempotency_keys_pkey": (
        "insert into pgdurable.idempotency_keys select * from pgdurable.idempotency_keys"
    ),
    "presences_pkey": "insert into pgdurable.presences select * from pgdurable.presences",
    "workers_pkey": "insert into pgdurable.workers select * from pgdurable.workers",
    "conversation_aliases_pkey": (
        "insert into pgdurable.conversation_aliases select * from pgdurable.conversation_aliases"
    ),
    "schema_files_pkey": "insert into pgdurable.schema_files select * from pgdurable.schema_files",
    "schema_migrations_pkey": (
        "insert into pgdurable.schema_migrations select * from pgdurable.schema_migrations"
    ),
}


@pytest.mark.parametrize("name", KEYS)
async def test_nothing_is_there_twice(db: Conn, name: str) -> None:
    held = await start(db, conversation="c", key="k")
    await db.execute(
        "select pgdurable.register_worker('w', 'host', 1, array['default'], 1, '0');"
        "select pgdurable.hold_presence('w', interval '10 s');"
        "insert into pgdurable.schema_migrations values (9999, 'x', now());"
    )
    await db.execute(
        "select pgdurable.upsert_conversation_alias('', 'c', 'c2', %s, 1)", [held.response_id]
    )
    with pytest.raises(UniqueViolation) as caught:
        await db.execute(KEYS[name])
    assert caught.value.diag.constraint_name == name


async def test_every_constraint_has_a_test_above(db: Conn) -> None:
    names = await value(
        db,
        "select array_agg(distinct conname::text) from pg_constraint"
        " where connamespace = 'pgdurable'::regnamespace and contype <> 'n'",
    )
    tested = {*REFUSED, *REFUSED_WHILE_QUEUED, *ATTEMPTS, *KEYS}
    tested |= {"request_belongs_to_a_response", "attempt_belongs_to_a_response"}
    assert set(names) == tested


async def test_events_of_a_deleted_row_do_not_stop_a_delete(db: Conn) -> None:
    held = await start(db)
    await db.execute("delete from pgdurable.responses")
    assert await value(db, "select count(*) from pgdurable.requests") == 0
    assert await value(db, "select count(*) from pgdurable.attempts") == 0
    assert await value(db, "select count(*) from pgdurable.events") == 2
    assert held.attempt == 1


async def test_heartbeats_and_appends_touch_no_index(dsn: str, db: Conn) -> None:
    held, last_seq = await start(db), 1
    await db.execute("select pg_stat_reset()")
    with psycopg.connect(dsn, autocommit=True) as sync:
        for _ in range(50):
            assert (await append(db, held, after=last_seq)).outcome == "ok"
            last_seq += 1
            sync.execute(
                "select * from pgdurable.heartbeat('a', array[%s], array[1], interval '1s')",
                [held.response_id],
            )
    await db.execute("select pg_stat_force_next_flush()")
    counted = await (
        await db.execute(
            "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'responses'"
        )
    ).fetchone()
    assert counted is not None
    updates, heap_only = counted
    # A full page makes one that is not, and so does a page that cannot be cleaned just then.
    assert updates >= 50 and heap_only >= 0.9 * updates


async def test_keys_compare_by_bytes_whatever_the_database_collates_by(db: Conn) -> None:
    wrong = await value(
        db,
        """
        select array_agg(i.indexrelid::regclass::text || ' ' || a.attname)
        from pg_index as i
        join pg_attribute as a on a.attrelid = i.indexrelid
        where starts_with(i.indrelid::regclass::text, 'pgdurable.')
          and i.indrelid <> 'pgdurable.schema_files'::regclass
          and a.attcollation <> 0 and a.attcollation <> '"C"'::regcollation
        """,
    )
    assert wrong is None


BACK = timedelta(hours=-1)


async def test_a_clock_that_was_set_back_fails_no_transition(db: Conn, clock: Clock) -> None:
    finished, handed_back, not_stored, expired = [await enqueue(db, max_attempts=2) for _ in "4444"]
    clock.advance(BACK)
    await db.execute("update pgdurable.responses set available_at = pgdurable.now()")
    held = {each.response_id: each for each in await claim(db, limit=4)}
    clock.advance(BACK)
    assert (await finish(db, held[finished])).outcome == "ok"
    assert (await release(db, held[handed_back])).outcome == "ok"
    await queries.fail_response(db, response_id=not_stored, attempt=1)
    await queries.cancel_response(db, response_id=handed_back, principal="")
    for _ in range(2):
        await db.execute(
            "update pgdurable.responses set lease_expires_at = pgdurable.now() - interval '1 s'"
            " where status = 'in_progress'"
        )
        await take_over(db)
        clock.advance(BACK)
    states = {each: (await state(db, each))["status"] for each in held}
    assert states == {
        finished: "completed",
        handed_back: "cancelled",
        not_stored: "failed",
        expired: "failed",
    }
    assert len(await attempts_of(db, expired)) == 2
