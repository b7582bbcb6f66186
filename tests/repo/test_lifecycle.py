"""docs/lifecycle.md draws every way that a response can go, and no other; all are walked."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from pgdurable.database import connections, queries
from pgdurable.models import ClaimedResponse, Status
from tests.repo.markdown import ROOT, blocks
from tests.support import engine
from tests.support.clock import Clock
from tests.support.engine import PAST_LEASE, Conn
from tests.support.sql_sources import all_functions

PAGE = (ROOT / "docs" / "lifecycle.md").read_text("utf-8")
NOWHERE = "[*]"
TERMINAL = [status for status in Status if status.is_terminal]
Edge = tuple[str, str, str]


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[Conn]:
    async with await connections.connect(dsn, name="test") as conn:
        yield conn


def drawn() -> list[Edge]:
    """(from, to, by what) of each arrow."""
    (diagram,) = (block.text for block in blocks(PAGE) if block.language == "mermaid")
    found = re.findall(r"^  (\S+) --> (\S+): (\w+)$", diagram, re.MULTILINE)
    assert len(found) == diagram.count("-->")
    return found


class Walk:
    """Calls functions of the engine and remembers where each took its response."""

    def __init__(self, db: Conn, clock: Clock) -> None:
        self.db = db
        self.clock = clock
        self.edges: set[Edge] = set()

    async def where(self, response_id: str) -> tuple[str, int]:
        row = await (
            await self.db.execute(
                "select r.status, r.attempt from pgdurable.responses as r where r.response_id = %s",
                [response_id],
            )
        ).fetchone()
        return (row[0], row[1]) if row else (NOWHERE, 0)

    async def by(self, name: str, response_id: str, call: Awaitable[Any]) -> Any:
        before = await self.where(response_id)
        answer = await call
        after = await self.where(response_id)
        if before != after:
            self.edges.add((before[0], after[0], name))
        return answer

    async def queued(self, **how: Any) -> str:
        response_id = await engine.new_id(self.db)
        call = engine.enqueue(self.db, response_id=response_id, **how)
        await self.by("enqueue_responses", response_id, call)
        return response_id

    async def claimed(self, **how: Any) -> ClaimedResponse:
        response_id = await self.queued(**how)
        (held,) = await self.by("claim_responses", response_id, engine.claim(self.db))
        assert isinstance(held, ClaimedResponse)
        return held

    async def cancel(self, response_id: str) -> None:
        call = queries.cancel_response(self.db, response_id=response_id, principal="")
        await self.by("cancel_response", response_id, call)

    async def release(self, held: ClaimedResponse) -> None:
        await self.by("release_responses", held.response_id, engine.release(self.db, held))

    async def take_over(self, response_id: str, *, after: timedelta = PAST_LEASE) -> None:
        self.clock.advance(after)
        await self.by("take_over_responses", response_id, engine.take_over(self.db))

    async def finished(self, status: Status) -> str:
        held = await self.claimed()
        call = engine.finish(self.db, held, status)
        await self.by("finish_responses", held.response_id, call)
        return held.response_id


async def enqueue_by_hand(walk: Walk) -> None:
    response_id = await queries.enqueue_response(walk.db, {"input": "hi"})
    walk.edges.add((NOWHERE, (await walk.where(response_id))[0], "enqueue_response"))
    await walk.cancel(response_id)


async def retry(walk: Walk) -> None:
    old = await walk.finished(Status.FAILED)
    again = await queries.retry_response(walk.db, response_id=old, principal="")
    assert await walk.where(old) == ("failed", 1)
    walk.edges.add((NOWHERE, (await walk.where(again))[0], "retry_response"))
    await walk.cancel(again)


async def give_back(walk: Walk) -> None:
    held = await walk.claimed()
    await walk.release(held)
    await walk.cancel(held.response_id)


async def cancel_in_progress(walk: Walk) -> None:
    given_back, silent = await walk.claimed(), await walk.claimed()
    for held in (given_back, silent):
        await walk.cancel(held.response_id)
    await walk.release(given_back)
    await walk.take_over(silent.response_id)


async def crash(walk: Walk) -> None:
    held = await walk.claimed(max_attempts=2)
    await walk.take_over(held.response_id)
    await walk.take_over(held.response_id)


async def miss_the_deadline(walk: Walk) -> None:
    response_id = await walk.queued(deadline=timedelta(minutes=1))
    await walk.take_over(response_id, after=timedelta(minutes=2))


async def finish(walk: Walk) -> None:
    for status in TERMINAL:
        await walk.finished(status)


async def meet_a_refusal(walk: Walk) -> None:
    held = await walk.claimed()
    call = queries.fail_response(walk.db, response_id=held.response_id, attempt=held.attempt)
    await walk.by("fail_response", held.response_id, call)


async def prune(walk: Walk) -> None:
    for status in TERMINAL:
        response_id = await walk.finished(status)
        walk.clock.advance(timedelta(days=2))
        call = queries.prune_responses(walk.db, older_than=timedelta(days=1), limit=1000)
        await walk.by("prune_responses", response_id, call)


WAYS: list[Callable[[Walk], Awaitable[None]]] = [
    enqueue_by_hand,
    retry,
    give_back,
    cancel_in_progress,
    crash,
    miss_the_deadline,
    finish,
    meet_a_refusal,
    prune,
]


async def test_the_ways_that_a_response_goes_are_the_arrows_of_the_page(
    db: Conn, clock: Clock
) -> None:
    walk = Walk(db, clock)
    for way in WAYS:
        await way(walk)
    assert walk.edges == set(drawn())


async def test_a_response_can_be_deleted_in_every_state(db: Conn, clock: Clock) -> None:
    walk = Walk(db, clock)
    ids = [await walk.finished(status) for status in TERMINAL]
    ids += [(await walk.claimed()).response_id, await walk.queued()]
    for response_id in ids:
        call = queries.delete_response(db, response_id=response_id, principal="")
        await walk.by("delete_response", response_id, call)
    deleted = {edge for edge in walk.edges if edge[2] == "delete_response"}
    assert deleted == {(status.value, NOWHERE, "delete_response") for status in Status}


def test_each_arrow_is_drawn_once_and_is_a_public_function() -> None:
    arrows = drawn()
    assert len(set(arrows)) == len(arrows)
    assert {by for _, _, by in arrows} <= {n for n in all_functions() if not n.startswith("_")}
    states = {state for arrow in arrows for state in arrow[:2]} - {NOWHERE}
    assert states == {status.value for status in Status}
