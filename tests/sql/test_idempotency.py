"""sql/11_idempotency.sql: a key leads to one response."""

from __future__ import annotations

import pytest

from pgdurable.database import queries
from tests.support.engine import (
    Conn,
    enqueue,
    enqueue_all,
    new_response,
    value,
)


async def test_a_key_with_the_same_request_answers_the_response_it_made(db: Conn) -> None:
    first = await enqueue(db, key="k")
    (again,) = await enqueue_all(db, [await new_response(db, key="k")])
    assert (again.response_id, again.outcome, again.event) == (first, "existing", None)
    assert await value(db, "select count(*) from pgdurable.responses") == 1


async def test_a_key_with_another_request_is_a_conflict_and_makes_nothing(db: Conn) -> None:
    await enqueue(db, key="k")
    (other,) = await enqueue_all(db, [await new_response(db, key="k", request=b'{"input":"ho"}')])
    assert other.outcome == "conflict"
    assert await value(db, "select count(*) from pgdurable.responses") == 1
    assert await value(db, "select count(*) from pgdurable.requests") == 1


async def test_a_key_belongs_to_one_principal(db: Conn) -> None:
    made = [await enqueue(db, key="k", principal=p) for p in ("a", "b")]
    assert len(set(made)) == 2


async def test_one_key_twice_in_one_call_makes_one_response(db: Conn) -> None:
    responses = [
        await new_response(db, key="k"),
        await new_response(db, key="k"),
        await new_response(db, key="k", request=b"{}"),
        await new_response(db),
    ]
    made = await enqueue_all(db, responses)
    assert [m.outcome for m in made] == ["created", "existing", "conflict", "created"]
    assert made[1].response_id == made[0].response_id
    assert await value(db, "select count(*) from pgdurable.responses") == 2


async def test_a_key_goes_with_its_response(db: Conn) -> None:
    first = await enqueue(db, key="k")
    await queries.delete_response(db, response_id=first, principal="")
    assert await enqueue(db, key="k", request=b'{"input":"other"}') != first


async def test_a_transaction_that_rolls_back_leaves_nothing_and_frees_the_key(db: Conn) -> None:
    with pytest.raises(ZeroDivisionError):
        async with db.transaction():
            await enqueue(db, key="k")
            raise ZeroDivisionError
    assert await value(db, "select count(*) from pgdurable.responses") == 0
    assert (await enqueue_all(db, [await new_response(db, key="k")]))[0].outcome == "created"
