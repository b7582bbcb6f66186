"""sql/09_agents.sql: for which agent a response is that names none."""

from __future__ import annotations

from datetime import timedelta

import pytest
from psycopg.errors import InvalidParameterValue

from pgdurable.database import queries
from tests.support.clock import Clock
from tests.support.engine import Conn, claim, value


async def worker(db: Conn, name: str, *agents: str, queue: str = "default") -> None:
    await queries.register_worker(
        db,
        worker_id=name,
        host="h",
        pid=1,
        queues=[queue],
        concurrency=1,
        version="0",
        agents=list(agents),
    )


async def agent_of_new(db: Conn) -> str:
    response_id = await queries.enqueue_response(db, {"input": "hi"})
    agent = "select agent from pgdurable.responses where response_id = %s"
    return str(await value(db, agent, response_id))


async def test_it_goes_to_the_only_agent_of_the_queue(db: Conn) -> None:
    await worker(db, "a", "research")
    await worker(db, "b", "research")
    await worker(db, "elsewhere", "chat", queue="other")
    assert await agent_of_new(db) == "research"


async def test_where_there_are_several_it_is_refused_and_they_are_named(db: Conn) -> None:
    await worker(db, "a", "research")
    await worker(db, "b", "chat")
    with pytest.raises(InvalidParameterValue, match="chat, research"):
        await agent_of_new(db)


async def test_those_that_live_count_before_those_that_once_did(db: Conn, clock: Clock) -> None:
    await worker(db, "a", "research")
    clock.advance(timedelta(hours=1))
    assert await agent_of_new(db) == "research"
    await worker(db, "b", "chat")
    assert await agent_of_new(db) == "chat"


async def test_where_no_worker_has_come_yet_it_goes_to_whichever_agent_comes_first(
    db: Conn,
) -> None:
    assert await agent_of_new(db) == ""
    assert len(await claim(db, agents=["chat"])) == 1
