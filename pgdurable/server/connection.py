"""What is refused before there is a request to be routed: bytes that are not HTTP."""

from __future__ import annotations

from aiohttp import web

from pgdurable.server.refusals import failed, is_begun, new_request_id, refusal


class HttpConnection(web.RequestHandler):
    """An aiohttp connection that refuses in the one shape, and logs nothing of what was sent.

    Lines and headers that are malformed or too long, chunks that are none, encodings of a body
    that nobody here can read: no handler, and no middleware, ever sees those.
    """

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer, after which the connection is closed."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client has left
        if status < 500:
            answer = refusal(status, " ".join((message or "").split()) or "That is not HTTP.")
        else:
            answer = failed(request, exc)
        if is_begun(request):
            raise ConnectionResetError("a part of another answer has been sent")
        answer.headers["x-request-id"] = new_request_id()
        answer.force_close()
        return answer
