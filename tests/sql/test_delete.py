"""sql/62_delete.sql: a response leaves, in whatever state it is."""

from __future__ import annotations

import pytest

from pgdurable.database import queries
from pgdurable.errors import ResponseNotFound
from tests.support.engine import (
    Conn,
    append,
    finish,
    log_of,
    release,
    start,
    value,
)


async def delete(db: Conn, response_id: str, principal: str = "") -> None:
    await queries.delete_response(db, response_id=response_id, principal=principal)


async def test_a_deleted_one_is_gone_with_everything_it_had(db: Conn) -> None:
    held = await start(db, key="k", conversation="c")
    await append(db, held)
    await queries.upsert_conversation_alias(
        db, principal="", base="c", current="c2", response_id=held.response_id, attempt=1
    )
    other = await start(db, conversation="other")
    await delete(db, held.response_id)
    for table in ("requests", "events", "attempts", "idempotency_keys", "responses"):
        left = await value(
            db,
            f"select count(*) from pgdurable.{table} where response_id = %s",
            held.response_id,
        )
        assert left == 0, table
    assert await queries.resolve_conversation_alias(db, principal="", base="c") == "c"
    assert len(await log_of(db, other.response_id)) == 2


async def test_an_alias_stays_while_its_conversation_has_responses_and_goes_with_the_last(
    db: Conn,
) -> None:
    first, second = await start(db, conversation="c"), await start(db, conversation="c")
    await queries.upsert_conversation_alias(
        db, principal="", base="c", current="c2", response_id=first.response_id, attempt=1
    )
    await delete(db, first.response_id)
    assert await queries.resolve_conversation_alias(db, principal="", base="c") == "c2"
    await delete(db, second.response_id)
    assert await value(db, "select count(*) from pgdurable.conversation_aliases") == 0


async def test_an_alias_of_the_same_name_is_another_principals_own(db: Conn) -> None:
    ids = {}
    for name in ("ann", "bob"):
        ids[name] = (await start(db, principal=name, conversation="c")).response_id
        await queries.upsert_conversation_alias(
            db, principal=name, base="c", current=name, response_id=ids[name], attempt=1
        )
    await delete(db, ids["ann"], principal="ann")
    left = await db.execute("select a.principal from pgdurable.conversation_aliases as a")
    assert await left.fetchall() == [("bob",)]


async def test_the_alias_of_a_conversation_that_is_never_stored_stays(db: Conn) -> None:
    held = await start(db, conversation="c")
    await value(db, "update pgdurable.responses set store = false returning 1")
    await queries.upsert_conversation_alias(
        db, principal="", base="c", current="c2", response_id=held.response_id, attempt=1
    )
    await delete(db, held.response_id)
    assert await queries.resolve_conversation_alias(db, principal="", base="c") == "c2"


async def test_the_owner_of_a_deleted_one_can_write_nothing(db: Conn) -> None:
    held = await start(db)
    await delete(db, held.response_id)
    assert (await append(db, held)).outcome == "lost"
    assert (await finish(db, held)).outcome == "lost"
    assert (await release(db, held)).outcome == "lost"
    assert await value(db, "select count(*) from pgdurable.events") == 0
    with pytest.raises(ResponseNotFound):
        await delete(db, held.response_id)
