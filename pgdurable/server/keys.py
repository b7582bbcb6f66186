"""What handlers find in the application and in a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web
from psycopg_pool import AsyncConnectionPool

from pgdurable.config import LongRunningSettings
from pgdurable.database.queries import NewResponse
from pgdurable.events.hub import Hub
from pgdurable.models import EnqueuedResponse


class ServerRuntime(Protocol):
    """What the server needs of the process it runs in; whether that has a worker is not its affair.

    `enqueue` makes a response durable and sees to it that somebody starts it. The others say what
    has just been committed: `announce`, that a response is new; `cancelled`, that its cancel was
    asked for; `deleted`, that it is gone.
    """

    pool: AsyncConnectionPool
    hub: Hub

    @property
    def overloaded(self) -> bool: ...

    async def enqueue(self, response: NewResponse, headers: dict[str, str]) -> EnqueuedResponse: ...

    def publish_created(self, enqueued: EnqueuedResponse) -> None: ...

    def announce(self, response_id: str) -> None: ...

    def cancelled(self, response_id: str) -> None: ...

    def deleted(self, response_id: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the author of a server decides, beside the settings."""

    settings: LongRunningSettings
    agent_name: str
    principal: Callable[[web.Request], str]
    enable_chat_proxy: bool = False


RUNTIME: web.AppKey[ServerRuntime] = web.AppKey("runtime")
OPTIONS = web.AppKey("options", Options)
REQUEST_ID = web.RequestKey("request_id", str)


def runtime_of(request: web.Request) -> ServerRuntime:
    return request.app[RUNTIME]


def options_of(request: web.Request) -> Options:
    return request.app[OPTIONS]


def principal_of(request: web.Request) -> str:
    """The principal that this request may see responses of."""
    return options_of(request).principal(request)
