"""Servers: one drains at once, two have addresses of their own, which nobody answers."""

from __future__ import annotations

from pgdurable.long_running import LongRunningAgentServer
from tests.cli.apps.slow import agent

server = LongRunningAgentServer(
    agent=agent,
    drain_timeout_seconds=0.2,
    cleanup_timeout_seconds=2.0,
    db_statement_timeout_ms=1000,
    heartbeat_interval_seconds=0.5,
    heartbeat_stale_threshold_seconds=2.0,
)
elsewhere = LongRunningAgentServer(agent=agent, dsn="postgresql://nobody@127.0.0.1:1/nothing")
deaf = LongRunningAgentServer(agent=agent, listen_dsn="postgresql://nobody@127.0.0.1:1/nothing")
app = server.app
empty = type(agent)("empty")
