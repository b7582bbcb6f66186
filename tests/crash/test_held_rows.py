"""A person's open transaction holds one response's row: that response waits, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from tests.crash.invariants import Conn, check_finished, outcome
from tests.support.inside import Inside, inside, text_of
from tests.support.waiting import wait_until

WORDS = 60


async def talk(request: Any) -> AsyncIterator[str]:
    for number in range(WORDS):
        yield f"w{number} "
        await asyncio.sleep(0.05)


TEXT = "".join(f"w{number} " for number in range(WORDS))


@asynccontextmanager
async def held_row(dsn: str, response_id: str) -> AsyncIterator[None]:
    """Somebody in psql has begun a transaction, and gone to lunch."""
    async with await psycopg.AsyncConnection.connect(dsn) as person:
        await person.execute(
            "select from pgdurable.responses where response_id = %s for update", [response_id]
        )
        yield


async def has_begun(conn: Conn, response_id: str) -> Any:
    return (await outcome(conn, response_id)).last_seq > 5


async def begun(server: Inside, conn: Conn, count: int) -> list[str]:
    ids = [await server.post() for _ in range(count)]
    for response_id in ids:
        await wait_until(lambda id_=response_id: has_begun(conn, id_))  # type: ignore[misc]
    return ids


async def test_a_held_row_stalls_its_own_response_and_nobody_elses(dsn: str, conn: Conn) -> None:
    """The lease of 1 s runs out several times over; those of the others are renewed."""
    async with inside(dsn, talk) as server:
        held, *others = await begun(server, conn, 4)
        async with held_row(dsn, held):
            late = await server.post()  # claims and POSTs go on, too
            responses = [await server.finished(other) for other in [*others, late]]
            assert (await outcome(conn, held)).status == "in_progress"
        assert text_of(await server.finished(held)) == TEXT

    assert [text_of(response) for response in responses] == [TEXT] * 4
    for response_id in [held, *others, late]:
        assert (await check_finished(conn, response_id)).attempt == 1


async def test_a_stop_hands_back_every_response_but_the_held_one(dsn: str, conn: Conn) -> None:
    async with inside(dsn, talk) as server:
        held, *others = await begun(server, conn, 4)
        holding = held_row(dsn, held)
        await holding.__aenter__()
    states = [await outcome(conn, response_id) for response_id in [held, *others]]
    await holding.__aexit__(None, None, None)

    assert [state.status for state in states] == ["in_progress", "queued", "queued", "queued"]
    assert [state.failed_attempts for state in states] == [0] * 4


async def test_a_cancelled_response_whose_row_is_held_is_cancelled_afterwards(
    dsn: str, conn: Conn
) -> None:
    """The classic: `begin; select pgdurable.cancel_response(...)`, and no commit."""
    async with inside(dsn, talk) as server:
        (response_id,) = await begun(server, conn, 1)
        async with await psycopg.AsyncConnection.connect(dsn) as person:
            await person.execute("select pgdurable.cancel_response(%s)", [response_id])
            other = await server.finished(await server.post())
        assert (await server.finished(response_id))["status"] == "cancelled"

    assert text_of(other) == TEXT
    # Its lease has run out meanwhile: whoever comes first ends it, its worker or a takeover.
    await check_finished(conn, response_id, by_sql=True)
