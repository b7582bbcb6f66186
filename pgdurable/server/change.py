"""Cancel, delete, retry: what a client may do to a response that is there."""

from __future__ import annotations

import logging
import time

from aiohttp import web

from pgdurable.database import queries
from pgdurable.errors import AlreadyFinished
from pgdurable.logs import LogEvent, log
from pgdurable.server.keys import principal_of, runtime_of
from pgdurable.server.objects import response_of_snapshot
from pgdurable.server.read import response_id_of, snapshot_of
from pgdurable.server.refusals import json_response, refusal
from pgdurable.server.streams import View

logger = logging.getLogger(__name__)

# The worker is told at once; this is how long the answer waits for it to have stopped.
CANCEL_WAIT_SECONDS = 5.0


async def cancel(request: web.Request) -> web.Response:
    """POST /responses/{id}/cancel: idempotent; a finished response is answered as it is."""
    response_id = response_id_of(request)
    view = View.of(request)
    runtime = runtime_of(request)
    async with runtime.hub.open(response_id) as feed:
        snapshot = await snapshot_of(request, response_id)
        if not snapshot.background:
            return refusal(
                400, "Only responses created with background=true can be cancelled.", param="id"
            )
        feed.seen(snapshot.last_seq, finished=snapshot.status.is_terminal)
        try:
            async with runtime.pool.connection() as conn:
                await queries.cancel_response(
                    conn, response_id=response_id, principal=principal_of(request)
                )
        except AlreadyFinished:
            pass
        else:
            log(logger, logging.INFO, LogEvent.RESPONSE_CANCEL_REQUESTED, response_id=response_id)
            runtime.cancelled(response_id)
            deadline = time.monotonic() + CANCEL_WAIT_SECONDS
            while not feed.finished and not feed.deleted and time.monotonic() < deadline:
                await feed.wait(deadline - time.monotonic())
    snapshot = await snapshot_of(request, response_id)
    location = request.path.removesuffix("/cancel")
    return json_response(
        view.of_response(response_of_snapshot(snapshot)),
        headers={"Location": location, "X-Response-Id": response_id},
    )


async def delete(request: web.Request) -> web.Response:
    """DELETE /responses/{id}, also while it runs; afterwards it is unknown."""
    response_id = response_id_of(request)
    runtime = runtime_of(request)
    async with runtime.pool.connection() as conn:
        await queries.delete_response(
            conn, response_id=response_id, principal=principal_of(request)
        )
    log(logger, logging.INFO, LogEvent.RESPONSE_DELETED, response_id=response_id)
    runtime.deleted(response_id)
    return json_response({"id": response_id, "object": "response", "deleted": True})


async def retry(request: web.Request) -> web.Response:
    """POST /responses/{id}/retry: a finished response's request, as a new response."""
    response_id = response_id_of(request)
    view = View.of(request)
    runtime = runtime_of(request)
    async with runtime.pool.connection() as conn:
        new_id = await queries.retry_response(
            conn, response_id=response_id, principal=principal_of(request)
        )
    log(logger, logging.INFO, LogEvent.RESPONSE_RETRIED, response_id=new_id, of=response_id)
    runtime.announce(new_id)
    snapshot = await snapshot_of(request, new_id)
    location = request.path.removesuffix(f"{response_id}/retry") + new_id
    return json_response(
        view.of_response(response_of_snapshot(snapshot)),
        headers={"Location": location, "X-Response-Id": new_id},
    )
