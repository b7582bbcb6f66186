"""The chat UI behind the agent's port (docs/wire.md 9): what is not ours goes to a local UI server.

Only allowed paths, only to this machine, no redirects followed, no cookies kept. Bodies pass
through in both directions piece by piece, as they come, so that an SSE answer stays a stream.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from pgdurable.errors import ConfigurationError

EXACT_PATHS = ("/", "/favicon.ico", "/ping")
PATH_PREFIXES = ("/assets/", "/api/", "/chat/")
DEFAULT_PORT = 3000
DEFAULT_TIMEOUT_SECONDS = 300.0

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_FORWARDED = _HOP_BY_HOP | {"host", "expect"}
_INVENTED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
# Dot segments, however they are divided, and characters that servers read in different ways.
_UNSAFE = re.compile(r"(?:^|/)\.{1,2}(?:;[^/]*)?(?:/|$)|[\x00-\x1f\x7f\\]")
_MAX_DECODINGS = 5


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which paths belong to the UI, and where it listens; the timeout is for silence."""

    port: int = DEFAULT_PORT
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    exact: frozenset[str] = frozenset(EXACT_PATHS)
    prefixes: tuple[str, ...] = PATH_PREFIXES

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Allowed:
        """From the variables that MLflow reads; raises ConfigurationError."""
        port = _number(environment, "CHAT_APP_PORT", DEFAULT_PORT)
        if port != int(port) or port > 65535:
            raise ConfigurationError(f"CHAT_APP_PORT is no port: {port:g}")
        return cls(
            int(port),
            _number(environment, "CHAT_PROXY_TIMEOUT_SECONDS", DEFAULT_TIMEOUT_SECONDS),
            frozenset({*EXACT_PATHS, *_paths(environment, "CHAT_PROXY_ALLOWED_EXACT_PATHS")}),
            (*PATH_PREFIXES, *_paths(environment, "CHAT_PROXY_ALLOWED_PATH_PREFIXES")),
        )

    def includes(self, raw_path: str) -> bool:
        """Whether the UI may be asked for this path, however often somebody decodes it."""
        for path in _decodings(raw_path):
            if _UNSAFE.search(path) or not (path in self.exact or path.startswith(self.prefixes)):
                return False
        return _decoded_fully(raw_path)


ALLOWED = web.AppKey("allowed", Allowed)
SESSION = web.AppKey("session", aiohttp.ClientSession)


async def session(app: web.Application) -> AsyncIterator[None]:
    """The connections to the UI, while the application lives; raises ConfigurationError."""
    app[ALLOWED] = allowed = Allowed.of(os.environ)
    async with aiohttp.ClientSession(
        # A connection a request: a kept one may be closed by the UI just as it is used again.
        connector=aiohttp.TCPConnector(resolver=_Loopback(), limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_read=allowed.timeout_seconds),
        auto_decompress=False,
    ) as app[SESSION]:
        yield


async def proxy(request: web.Request) -> web.StreamResponse:
    """Any method on a path that matches no route; 404 where the UI may not be asked."""
    await _refuse_wrong_method(request)
    prefix = _mount_point(request)
    raw_path = request.rel_url.raw_path.removeprefix(prefix)
    if not request.app[ALLOWED].includes(raw_path):
        raise web.HTTPNotFound
    try:
        upstream = await _ask(request, raw_path)
    except aiohttp.ClientConnectorError:
        return web.Response(status=503, text="Service unavailable")
    except (aiohttp.ClientError, TimeoutError) as exc:
        return web.Response(status=502, text=f"Proxy error: {type(exc).__name__}")
    async with upstream:
        return await _relay(request, upstream)


async def _ask(request: web.Request, raw_path: str) -> aiohttp.ClientResponse:
    url = URL.build(
        scheme="http",
        host="localhost",
        port=request.app[ALLOWED].port,
        path=raw_path,
        query_string=request.rel_url.raw_query_string,
        encoded=True,
    )
    return await request.app[SESSION].request(
        request.method,
        url,
        headers=_kept(request.headers, _NOT_FORWARDED),
        data=request.content if request.can_read_body else None,
        allow_redirects=False,
        skip_auto_headers=_INVENTED_BY_AIOHTTP,
    )


async def _relay(request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(
        status=upstream.status,
        reason=upstream.reason,
        headers=_kept(upstream.headers, _HOP_BY_HOP),
    )
    await response.prepare(request)
    try:
        async for piece in upstream.content.iter_any():
            await response.write(piece)
    except (aiohttp.ClientError, TimeoutError) as exc:
        # The head is out: only a connection cut short says that this is not all.
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the chat UI broke off") from exc
    await response.write_eof()
    return response


async def _refuse_wrong_method(request: web.Request) -> None:
    """A path of ours that does not take this method reached the catch-all, too."""
    methods: set[str] = set()
    for resource in request.app.router.resources():
        if resource is not request.match_info.route.resource:
            methods |= (await resource.resolve(request))[1]
    if methods:
        raise web.HTTPMethodNotAllowed(request.method, methods)


def _mount_point(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical.removesuffix("/{path}")


def _kept(headers: Mapping[str, str], dropped: Iterable[str]) -> CIMultiDict[str]:
    """All headers but those, and those that are named as belonging to this connection only."""
    connection = headers.get("Connection", "").lower().split(",")
    without = {*dropped, *(name.strip() for name in connection)}
    return CIMultiDict(
        [(name, value) for name, value in headers.items() if name.lower() not in without]
    )


def _decodings(path: str) -> Iterator[str]:
    for _ in range(_MAX_DECODINGS):
        yield path
        decoded = unquote(path)
        if decoded == path:
            return
        path = decoded


def _decoded_fully(path: str) -> bool:
    *_, last = _decodings(path)
    return unquote(last) == last


def _paths(environment: Mapping[str, str], name: str) -> list[str]:
    paths = [path.strip() for path in environment.get(name, "").split(",") if path.strip()]
    for path in paths:
        if not path.startswith("/"):
            raise ConfigurationError(f"{name}: paths start with a slash, '{path}' does not")
    return paths


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    try:
        number = float(environment.get(name) or default)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ConfigurationError(f"{name} must be a number above 0")
    return number


class _Loopback(AbstractResolver):
    """There is no host but this one, whatever the name resolution of the machine says."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)
            for address, kind in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))
        ]

    async def close(self) -> None:
        pass
