"""The heartbeat: whose leases it renews, and what it tells the attempts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from pgdurable.database import queries
from pgdurable.events.writer import Stop
from pgdurable.models import ClaimedResponse
from pgdurable.worker.lease import Heartbeat
from tests.support import engine
from tests.support.clock import Clock
from tests.support.engine import LEASE, PAST_LEASE, Conn
from tests.support.waiting import wait_until


class Ward:
    """A heartbeat, and what it has said."""

    def __init__(self, dsn: str) -> None:
        self.stops: list[tuple[str, int, Stop]] = []
        self.heartbeat = Heartbeat(
            dsn,
            worker_id="a",
            interval=timedelta(seconds=0.1),
            lease=LEASE,
            on_stop=lambda *said: self.stops.append(said),
        )


@pytest.fixture
async def ward(dsn: str) -> AsyncIterator[Ward]:
    opened = Ward(dsn)
    opened.heartbeat.start()
    yield opened
    opened.heartbeat.stop(timeout=5)


async def renewed(conn: Conn, held: ClaimedResponse) -> None:
    """Until its lease has been renewed once."""
    first = (await engine.state(conn, held.response_id))["lease_expires_at"]

    async def is_renewed() -> Any:
        return (await engine.state(conn, held.response_id))["lease_expires_at"] != first

    await wait_until(is_renewed)


async def test_a_lease_is_renewed_until_this_attempt_of_it_is_dropped(
    conn: Conn, ward: Ward
) -> None:
    held, other = await engine.start(conn), await engine.start(conn)
    for response in (held, other):
        ward.heartbeat.keep(response.response_id, response.attempt)
    ward.heartbeat.drop(held.response_id, held.attempt - 1)  # it had lost it to itself
    await renewed(conn, held)
    ward.heartbeat.drop(held.response_id, held.attempt)
    await renewed(conn, other)  # a beat may have been under way
    last = (await engine.state(conn, held.response_id))["lease_expires_at"]
    for _ in range(2):
        await renewed(conn, other)
    assert (await engine.state(conn, held.response_id))["lease_expires_at"] == last
    assert ward.stops == []


async def test_an_attempt_is_told_that_it_is_over_or_should_be(
    conn: Conn, clock: Clock, ward: Ward
) -> None:
    lost = await engine.start(conn)
    clock.advance(PAST_LEASE)
    await engine.take_over(conn, "b")
    cancelled = await engine.start(conn)
    await queries.cancel_response(conn, response_id=cancelled.response_id, principal="")
    ward.heartbeat.keep(lost.response_id, lost.attempt)
    ward.heartbeat.ask(cancelled.response_id, cancelled.attempt)
    await wait_until(lambda: len({said[0] for said in ward.stops}) == 2)
    assert set(ward.stops) == {
        (lost.response_id, 1, "lost"),
        (cancelled.response_id, 1, "cancel"),
    }
