"""The application: routes, state, start and stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from aiohttp import web

from pgdurable.server import change, chat_proxy, create, info, openapi, read
from pgdurable.server.keys import OPTIONS, RUNTIME, Options, ServerRuntime
from pgdurable.server.refusals import add_request_id, refuse

OpenRuntime = Callable[[], AbstractAsyncContextManager[ServerRuntime]]


def make_app(options: Options, open_runtime: OpenRuntime) -> web.Application:
    """The application; mountable with `add_subapp`. `open_runtime` is entered when it starts."""
    app = web.Application(middlewares=[refuse], client_max_size=options.settings.max_request_bytes)
    app[OPTIONS] = options
    app.on_response_prepare.append(add_request_id)
    app.on_shutdown.append(_let_readers_go)

    async def runtime(app: web.Application) -> AsyncIterator[None]:
        async with open_runtime() as opened:
            app[RUNTIME] = opened
            yield

    app.cleanup_ctx.append(runtime)
    _add_routes(app, options)
    return app


def _add_routes(app: web.Application, options: Options) -> None:
    router = app.router
    router.add_post("/invocations", create.create)
    for prefix in ("", "/v1"):
        one = f"{prefix}/responses/{{response_id}}"
        router.add_post(f"{prefix}/responses", create.create)
        router.add_get(f"{prefix}/responses", read.list_responses)
        router.add_get(one, read.retrieve)
        router.add_delete(one, change.delete)
        router.add_get(f"{one}/input_items", read.input_items)
        router.add_post(f"{one}/cancel", change.cancel)
        router.add_post(f"{one}/retry", change.retry)
        router.add_get(f"{prefix}/conversations/{{base_id:.+}}", read.conversation)
        router.add_get(f"{prefix}/agent/info", info.agent_info)
        router.add_get(f"{prefix}/health", info.health)
        router.add_get(f"{prefix}/openapi.json", openapi.document)
    if options.enable_chat_proxy:
        app.cleanup_ctx.append(chat_proxy.session)
        router.add_route("*", "/{path:.*}", chat_proxy.proxy)


async def _let_readers_go(app: web.Application) -> None:
    """Before the wait for handlers: a tail would hold it up to its end."""
    if (runtime := app.get(RUNTIME)) is not None:
        runtime.hub.close()
