"""Long-running agents that survive crashes, on Postgres alone."""

from pgdurable.agent import (
    Agent,
    AgentRequest,
    Context,
    default_agent,
    get_request_headers,
    invoke,
    on_recovery,
    replace_fake_id,
    stream,
)
from pgdurable.config import LongRunningSettings
from pgdurable.long_running import LongRunningAgentServer

__all__ = [
    "Agent",
    "AgentRequest",
    "Context",
    "LongRunningAgentServer",
    "LongRunningSettings",
    "default_agent",
    "get_request_headers",
    "invoke",
    "on_recovery",
    "replace_fake_id",
    "stream",
]
