"""One JSON shape for everything that goes wrong, and a request id on every answer.

`{"error": {"message", "type", "param", "code"}}`: what the SDKs turn into usable exceptions.
`x-should-retry: false` goes out wherever sending the same request again would run the agent again.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web

from pgdurable import errors
from pgdurable.database import connections
from pgdurable.logs import LogEvent, log
from pgdurable.server.keys import REQUEST_ID

logger = logging.getLogger(__name__)

Route = Callable[[web.Request], Awaitable[web.StreamResponse]]

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
RETRY_AFTER_SECONDS = 1


def json_response(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON answer."""
    return web.Response(
        body=orjson.dumps(value), status=status, content_type="application/json", headers=headers
    )


def refusal(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    retry: bool | None = None,
) -> web.Response:
    """An error in the one shape; `retry` says whether a client may send the request again."""
    headers = {}
    if retry is False:
        headers["x-should-retry"] = "false"
    elif retry:
        headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = error_body(message, kind=kind, code=code, param=param)
    return json_response(body, status=status, headers=headers)


def error_body(
    message: str,
    *,
    kind: str = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
) -> dict[str, object]:
    """The one shape."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def not_found(response_id: str) -> errors.ResponseNotFound:
    """The answer for unknown, deleted and other people's responses alike."""
    return errors.ResponseNotFound(f"Response with id '{response_id}' not found.")


@web.middleware
async def refuse(request: web.Request, handler: Route) -> web.StreamResponse:
    """Turn what a route raises into an answer; keep the request's id, or give it one."""
    given = request.headers.get("x-request-id", "")
    request[REQUEST_ID] = given if _REQUEST_ID.fullmatch(given) else new_request_id()
    try:
        return await handler(request)
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        answer = _http_refusal(request, exc)
    except errors.PgdurableError as exc:
        answer = _domain_refusal(exc)
    except ConnectionResetError as exc:
        # The client has left: no error, for which aiohttp would log a traceback.
        raise asyncio.CancelledError from exc
    except Exception as exc:
        answer = _unavailable(exc) if connections.is_outage(exc) else failed(request, exc)
    if is_begun(request):
        raise ConnectionResetError("a part of another answer has been sent")
    return answer


def is_begun(request: web.BaseRequest) -> bool:
    """Has some of an answer been sent? A second one would end up in its body."""
    return request.writer.output_size > 0


def failed(request: web.BaseRequest, exc: BaseException | None) -> web.Response:
    """The answer to a request that the server has failed on; its log has the exception."""
    log(
        logger,
        logging.ERROR,
        LogEvent.REQUEST_FAILED,
        request_id=request.get(REQUEST_ID),
        path=request.path,
        exc_info=exc,
    )
    return refusal(500, "The server failed; its log has the details.", retry=False)


def new_request_id() -> str:
    """An id for a request that came without one."""
    return f"req_{secrets.token_hex(12)}"


async def add_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Before the headers go out: `x-request-id`, on streams too."""
    if request_id := request.get(REQUEST_ID):
        response.headers.setdefault("x-request-id", request_id)


def _http_refusal(request: web.Request, exc: web.HTTPException) -> web.Response:
    path = request.path[:200]
    messages = {
        404: f"Unknown path: {request.method} {path}",
        405: f"{path} does not take {request.method}.",
        413: "The request body is too large.",
    }
    response = refusal(exc.status, messages.get(exc.status, exc.reason))
    for name, value in exc.headers.items():  # Allow, or what an author's principal() says
        if name.lower() not in ("content-type", "content-length"):
            response.headers.add(name, value)
    return response


def _domain_refusal(exc: errors.PgdurableError) -> web.Response:
    match exc:
        case errors.ResponseNotFound():
            return refusal(404, str(exc))
        case errors.InvalidRequest():
            return refusal(400, str(exc), code=exc.code, param=exc.param)
        case errors.IdempotencyConflict():
            return refusal(409, str(exc), code="idempotency_conflict", retry=False)
        case errors.NotFinished():
            return refusal(409, str(exc), code="not_finished", retry=False)
        case errors.AlreadyFinished():
            return refusal(409, str(exc), code="already_finished", retry=False)
        case errors.DatabaseUnavailable():
            return _unavailable(exc)
        case _:
            return refusal(500, str(exc), retry=False)


def _unavailable(exc: Exception) -> web.Response:
    log(logger, logging.WARNING, LogEvent.DATABASE_LOST, reason=exc)
    return refusal(503, "The database cannot be reached; try again soon.", retry=True)
