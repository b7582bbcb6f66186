"""The chat proxy in front of a real UI server on loopback."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, unused_port
from yarl import URL

from pgdurable.errors import ConfigurationError
from pgdurable.server import chat_proxy
from pgdurable.server.refusals import refuse

Client = TestClient[web.Request, web.Application]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Ui:
    """A UI server that notes what reaches it, and answers as the test says."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Answer | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.seen.append((request.method, request.raw_path, await request.read()))
        return await self.answer(request) if self.answer else web.Response(text="from the UI")


@pytest.fixture
async def ui(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ui]:
    ui = Ui()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", ui.handle)
    async with TestServer(app) as server:
        monkeypatch.setenv("CHAT_APP_PORT", str(server.port))
        yield ui


def agent_app() -> web.Application:
    async def create(request: web.Request) -> web.Response:
        return web.Response(text="from the agent")

    app = web.Application(middlewares=[refuse], client_max_size=1 << 20)
    app.router.add_post("/responses", create)
    app.router.add_get("/responses/{response_id}", create)
    app.cleanup_ctx.append(chat_proxy.session)
    app.router.add_route("*", "/{path:.*}", chat_proxy.proxy)
    return app


@pytest.fixture
async def client(ui: Ui) -> AsyncIterator[Client]:
    async with TestClient(TestServer(agent_app())) as client:
        yield client


async def get_raw(client: Client, target: str) -> aiohttp.ClientResponse:
    """The target as it is, without the normalisation that clients do."""
    url = URL(f"{client.make_url('')}".rstrip("/") + target, encoded=True)
    return await client.session.get(url)


@pytest.mark.parametrize(
    "path", ["/", "/favicon.ico", "/ping", "/assets/app.js", "/api/chat?id=1&x=%20", "/chat/7"]
)
async def test_the_uis_paths_reach_the_ui(ui: Ui, client: Client, path: str) -> None:
    answer = await get_raw(client, path)

    assert (answer.status, await answer.text()) == (200, "from the UI")
    assert ui.seen == [("GET", path, b"")]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_methods_and_bodies_are_forwarded(ui: Ui, client: Client, method: str) -> None:
    await client.request(method, "/api/x", data=b"body")
    assert ui.seen == [(method, "/api/x", b"body")]


async def test_an_upload_larger_than_a_request_to_the_agent_may_be_passes(
    ui: Ui, client: Client
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(32):
            yield b"x" * 65536

    answer = await client.post("/api/upload", data=pieces())
    assert answer.status == 200
    assert len(ui.seen[0][2]) == 32 * 65536
    assert ui.headers[0]["transfer-encoding"] == "chunked"


async def test_the_agents_own_routes_stay_the_agents(ui: Ui, client: Client) -> None:
    assert await (await client.post("/responses")).text() == "from the agent"
    refused = await client.put("/responses/resp_1")
    assert refused.status == 405 and refused.headers["allow"] == "GET,HEAD"
    assert (await refused.json())["error"]["type"] == "invalid_request_error"
    assert ui.seen == []


@pytest.mark.parametrize(
    "target",
    [
        "/admin",
        "/assets",
        "/apix/a",
        "/favicon.ico/x",
        "//assets/x",
        "/assets/../admin",
        "/assets/..",
        "/assets/./x",
        "/assets/%2e%2e/admin",
        "/assets/%2E./admin",
        "/assets/..%2fadmin",
        "/assets/%252e%252e/admin",
        "/assets/%25252e%25252e%25252fadmin",
        "/assets/%" + "25" * 9 + "2e%2e/admin",
        "/assets/..;/admin",
        "/assets/..;x=1/admin",
        "/assets/..%5cadmin",
        "/assets/..\\admin",
        "/assets/a%00",
        "/assets/a%0d%0aHost:%20x",
        "/%61dmin",
        "/api%2f..%2fadmin",
    ],
)
async def test_nothing_else_reaches_the_ui(ui: Ui, client: Client, target: str) -> None:
    answer = await get_raw(client, target)

    assert answer.status == 404
    assert (await answer.json())["error"]["message"].startswith("Unknown path")
    assert ui.seen == []


async def test_the_environment_allows_more_paths(monkeypatch: pytest.MonkeyPatch, ui: Ui) -> None:
    monkeypatch.setenv("CHAT_PROXY_ALLOWED_EXACT_PATHS", "/robots.txt, /login,")
    monkeypatch.setenv("CHAT_PROXY_ALLOWED_PATH_PREFIXES", "/static/")
    async with TestClient(TestServer(agent_app())) as client:
        statuses = [
            (await client.get(path)).status
            for path in ("/robots.txt", "/login", "/static/a", "/static", "/", "/other")
        ]
    assert statuses == [200, 200, 200, 404, 200, 404]


async def test_headers_of_one_connection_stay_on_it(ui: Ui, client: Client) -> None:
    async def answer(request: web.Request) -> web.Response:
        headers = {"Connection": "close, X-Hop", "X-Hop": "1", "X-End": "2", "Keep-Alive": "3"}
        return web.Response(headers=headers)

    ui.answer = answer
    got = await client.get(
        "/ping",
        headers={
            "Authorization": "Bearer t",
            "X-Forwarded-Access-Token": "u",
            "Connection": "keep-alive, X-Mine",
            "X-Mine": "1",
            "TE": "trailers",
            "Proxy-Authorization": "secret",
        },
    )
    (sent,) = ui.headers

    assert (sent["authorization"], sent["x-forwarded-access-token"]) == ("Bearer t", "u")
    assert not sent.keys() & {"x-mine", "te", "proxy-authorization", "accept-language"}
    assert not sent["host"].endswith(f":{client.port}")
    assert got.headers["X-End"] == "2"
    assert "X-Hop" not in got.headers and "Keep-Alive" not in got.headers


async def test_bodies_pass_as_they_are_compressed_or_not(ui: Ui, client: Client) -> None:
    async def answer(request: web.Request) -> web.Response:
        headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain", "ETag": '"1"'}
        return web.Response(body=gzip.compress(b"small"), headers=headers)

    ui.answer = answer
    got = await client.get("/assets/a.txt")
    assert (await got.text(), got.headers["ETag"]) == ("small", '"1"')
    head = await client.head("/assets/a.txt")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


async def test_redirects_and_cookies_are_the_browsers_business(ui: Ui, client: Client) -> None:
    async def answer(request: web.Request) -> web.Response:
        response = web.Response(status=302, headers={"Location": "http://example.invalid/"})
        response.set_cookie("session", "mine")
        response.set_cookie("other", "too")
        return response

    ui.answer = answer
    client.session.cookie_jar.clear()
    for _ in range(2):
        got = await client.get("/api/login", allow_redirects=False)
        assert (got.status, got.headers["Location"]) == (302, "http://example.invalid/")
        assert len(got.headers.getall("Set-Cookie")) == 2
        client.session.cookie_jar.clear()
    assert all("cookie" not in headers for headers in ui.headers)


async def test_a_stream_passes_event_by_event(ui: Ui, client: Client) -> None:
    first_seen = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await first_seen.wait()
        await response.write(b"data: 2\n\n")
        return response

    ui.answer = answer
    got = await client.get("/api/stream")
    assert await got.content.readuntil(b"\n\n") == b"data: 1\n\n"
    first_seen.set()
    assert await got.content.read() == b"data: 2\n\n"
    assert got.headers["Content-Type"] == "text/event-stream"


async def test_a_client_that_leaves_frees_the_ui(ui: Ui, client: Client) -> None:
    left: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"." * 4096)
                await asyncio.sleep(0)
        finally:
            left.set_result(request.path)

    ui.answer = answer
    got = await client.get("/api/endless")
    await got.content.readany()
    got.close()
    assert await asyncio.wait_for(left, 30) == "/api/endless"


async def test_a_ui_that_is_down_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_APP_PORT", str(unused_port()))
    async with TestClient(TestServer(agent_app())) as client:
        got = await client.get("/")
        assert (got.status, await got.text()) == (503, "Service unavailable")
        assert got.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("how", ["hangs up", "is silent"])
async def test_a_ui_that_does_not_answer_is_a_502(
    monkeypatch: pytest.MonkeyPatch, ui: Ui, how: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        if how == "is silent":
            await asyncio.Event().wait()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    ui.answer = answer
    monkeypatch.setenv("CHAT_PROXY_TIMEOUT_SECONDS", "0.2" if how == "is silent" else "30")
    async with TestClient(TestServer(agent_app())) as client:
        got = await client.get("/")
        assert got.status == 502
        assert (await got.text()).startswith("Proxy error: ")


async def test_an_answer_that_breaks_off_is_not_passed_as_whole(ui: Ui, client: Client) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    ui.answer = answer
    got = await client.get("/api/broken")
    with pytest.raises(aiohttp.ClientError):
        await got.content.read()


async def test_no_other_host_is_ever_asked(ui: Ui, client: Client) -> None:
    """A request target with a host in it, as forward proxies get them."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        host = f"127.0.0.1:{elsewhere.getsockname()[1]}"
        head = f"GET http://{host}/ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        answer = await reader.read()
        writer.close()
        with pytest.raises(BlockingIOError):
            elsewhere.accept()

    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"from the UI")
    assert [path for _, path, _ in ui.seen] == ["/ping"]


async def test_it_works_below_a_mount_point(ui: Ui) -> None:
    outer = web.Application()
    outer.add_subapp("/agent", agent_app())
    async with TestClient(TestServer(outer)) as client:
        assert (await client.get("/agent/api/x?y=1")).status == 200
        assert (await client.get("/agent/admin")).status == 404
        assert (await client.put("/agent/responses")).status == 405
    assert ui.seen == [("GET", "/api/x?y=1", b"")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHAT_APP_PORT", "http"),
        ("CHAT_APP_PORT", "70000"),
        ("CHAT_PROXY_TIMEOUT_SECONDS", "0"),
        ("CHAT_PROXY_TIMEOUT_SECONDS", "nan"),
        ("CHAT_PROXY_ALLOWED_PATH_PREFIXES", "static/"),
    ],
)
def test_wrong_settings_are_refused_by_name(name: str, value: str) -> None:
    environment: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError, match=name):
        chat_proxy.Allowed.of(environment)
