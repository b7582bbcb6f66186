"""What all attempts of a process share."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg_pool import AsyncConnectionPool

from pgdurable.agent import Agent
from pgdurable.config import LongRunningSettings
from pgdurable.envelope import Transform
from pgdurable.events.hub import Hub
from pgdurable.events.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The agent and its settings, and the rooms that an attempt works with.

    `headers` are those of requests that were posted to this process, by response id.
    """

    agent: Agent
    settings: LongRunningSettings
    pool: AsyncConnectionPool
    writer: Writer
    hub: Hub
    worker_id: str
    headers: dict[str, dict[str, str]]
    transform: Transform | None = None
