"""One idempotency key, many at once."""

from __future__ import annotations

import asyncio

from pgdurable.database import connections, queries
from pgdurable.models import EnqueuedResponse
from tests.support.engine import Conn, enqueue_all, new_response, value
from tests.support.sessions import Session


async def test_fifty_at_once_make_one_response(dsn: str, db: Conn) -> None:
    async def post() -> EnqueuedResponse:
        async with await connections.connect(dsn, name="poster") as conn:
            (made,) = await enqueue_all(conn, [await new_response(conn, key="k")])
            return made

    made = await asyncio.gather(*(post() for _ in range(50)))
    assert len({m.response_id for m in made}) == 1
    assert sorted(m.outcome for m in made) == ["created"] + ["existing"] * 49
    assert await value(db, "select count(*) from pgdurable.responses") == 1
    assert await value(db, "select count(*) from pgdurable.events") == 1


async def test_who_waits_for_a_commit_gets_the_response_it_made(
    a: Session, b: Session, db: Conn
) -> None:
    same, other = await new_response(db, key="k"), await new_response(db, key="k")
    async with a.conn.transaction():
        (first,) = await enqueue_all(a.conn, [same])
        waiting = await b.blocked(a, enqueue_all(b.conn, [other]))
    (second,) = await waiting
    assert (second.outcome, second.response_id) == ("existing", first.response_id)


async def test_who_waits_for_a_rollback_makes_its_own(a: Session, b: Session, db: Conn) -> None:
    same, other = await new_response(db, key="k"), await new_response(db, key="k")
    async with a.conn.transaction(force_rollback=True):
        await enqueue_all(a.conn, [same])
        waiting = await b.blocked(a, enqueue_all(b.conn, [other]))
    (second,) = await waiting
    assert (second.outcome, second.response_id) == ("created", other.response_id)
    assert await value(db, "select count(*) from pgdurable.responses") == 1


async def test_the_same_enqueue_from_two_sessions_is_made_once(
    a: Session, b: Session, db: Conn
) -> None:
    response = await new_response(db)
    async with a.conn.transaction():
        await enqueue_all(a.conn, [response])
        again = await b.blocked(a, enqueue_all(b.conn, [response]))
    (made,) = await again
    assert (made.outcome, made.response_id) == ("created", response.response_id)
    assert await value(db, "select count(*) from pgdurable.events") == 1


async def test_keys_are_taken_in_order_whatever_order_they_are_given_in(
    a: Session, b: Session, db: Conn
) -> None:
    """While it waits for the first key, a batch holds none that others could wait for."""
    batch = [await new_response(db, key=key) for key in ("k3", "k1", "k2")]
    async with a.conn.transaction(force_rollback=True):
        await enqueue_all(a.conn, [await new_response(db, key="k1")])
        waiting = await b.blocked(a, enqueue_all(b.conn, batch))
        for key in ("k2", "k3"):
            async with db.transaction(force_rollback=True):
                await db.execute("set local lock_timeout = '5s'")
                (free,) = await enqueue_all(db, [await new_response(db, key=key)])
                assert free.outcome == "created"
    assert [made.outcome for made in await waiting] == ["created"] * 3


async def test_a_key_whose_response_is_being_deleted_is_the_old_one_or_free(
    a: Session, b: Session, db: Conn
) -> None:
    (old,) = await enqueue_all(db, [await new_response(db, key="k")])
    async with a.conn.transaction():
        await queries.delete_response(a.conn, response_id=old.response_id, principal="")
        waiting = await b.blocked(a, enqueue_all(b.conn, [await new_response(db, key="k")]))
    (new,) = await waiting
    assert new.outcome == "created" and new.response_id != old.response_id


async def test_a_key_that_is_freed_after_it_was_met_is_taken_again(
    a: Session, b: Session, db: Conn
) -> None:
    """The response goes while the batch, past its key already, waits for the next one."""
    (old,) = await enqueue_all(db, [await new_response(db, key="k1")])
    batch = [await new_response(db, key="k1"), await new_response(db, key="k2")]
    async with a.conn.transaction():
        await enqueue_all(a.conn, [await new_response(db, key="k2")])
        waiting = await b.blocked(a, enqueue_all(b.conn, batch))
        await queries.delete_response(db, response_id=old.response_id, principal="")
    (new, _) = await waiting
    assert (new.outcome, new.response_id) == ("created", batch[0].response_id)
    (again,) = await enqueue_all(db, [await new_response(db, key="k1")])
    assert (again.outcome, again.response_id) == ("existing", new.response_id)


async def test_a_snapshot_older_than_a_delete_leaves_no_key_without_its_response(
    a: Session, db: Conn
) -> None:
    (old,) = await enqueue_all(db, [await new_response(db, key="k")])
    await a.conn.execute("begin isolation level repeatable read")
    assert await value(a.conn, "select count(*) from pgdurable.responses") == 1
    await queries.delete_response(db, response_id=old.response_id, principal="")
    (new,) = await enqueue_all(a.conn, [await new_response(db, key="k")])
    await a.conn.execute("commit")
    assert new.outcome == "created"
    assert await queries.existing_responses(db, [new.response_id]) == {new.response_id}
