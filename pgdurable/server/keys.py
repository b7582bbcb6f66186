"""What handlers find in the application and in a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from pgdurable.config import LongRunningSettings
from pgdurable.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the author of a server decides, beside the settings."""

    settings: LongRunningSettings
    agent_name: str
    principal: Callable[[web.Request], str]
    enable_chat_proxy: bool = False


RUNTIME = web.AppKey("runtime", Runtime)
OPTIONS = web.AppKey("options", Options)
REQUEST_ID = web.RequestKey("request_id", str)


def runtime_of(request: web.Request) -> Runtime:
    return request.app[RUNTIME]


def options_of(request: web.Request) -> Options:
    return request.app[OPTIONS]


def principal_of(request: web.Request) -> str:
    """Whose responses this request may see."""
    return options_of(request).principal(request)
