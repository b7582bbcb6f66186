"""The author's side: decorators, what a handler is given, and helpers it may call."""

from pgdurable.agent.context import Context, request_cancel
from pgdurable.agent.fake_ids import replace_fake_id
from pgdurable.agent.handler import Handler, Mode
from pgdurable.agent.headers import get_request_headers, set_request_headers
from pgdurable.agent.registry import Agent, default_agent, invoke, on_recovery, stream
from pgdurable.agent.request import AgentRequest, Record

__all__ = [
    "Agent",
    "AgentRequest",
    "Context",
    "Handler",
    "Mode",
    "Record",
    "default_agent",
    "get_request_headers",
    "invoke",
    "on_recovery",
    "replace_fake_id",
    "request_cancel",
    "set_request_headers",
    "stream",
]
