"""Ids that are none, methods that are wrong, paths that are not there; and the request's id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.support.inside import Inside, inside
from tests.support.waiting import TIMEOUT

UNKNOWN = "resp_" + "0" * 32
HOSTILE = [
    "resp_%00",
    "%00",
    "..",
    "../",
    "%2e%2e%2fetc%2fpasswd",
    "..%5c",
    "resp_" + "g" * 32,
    "RESP_" + "0" * 32,
    UNKNOWN + "0",
    UNKNOWN + "%0A",
    UNKNOWN + "%20",
    "';%20drop%20table%20pgdurable.responses;%20--",
    "%F0%9F%98%80",
    "%ff%fe",
    "x" * 4000,
    "$1",
    "null",
]


async def handler(request: Any) -> AsyncIterator[str]:
    yield "hi"


@pytest.fixture
async def http(dsn: str) -> AsyncIterator[Inside]:
    async with inside(dsn, handler) as http:
        yield http


async def error_of(answer: aiohttp.ClientResponse) -> Any:
    assert answer.content_type == "application/json", await answer.text()
    error: dict[str, Any] = (await answer.json())["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]
    return error


@pytest.mark.parametrize("response_id", [UNKNOWN, *HOSTILE])
async def test_an_id_that_does_not_exist_is_not_found(http: Inside, response_id: str) -> None:
    for prefix in ("", "/v1"):
        base = f"{http.url}{prefix}/responses/{response_id}"
        for method, url in (
            ("GET", base),
            ("GET", f"{base}?stream=true"),
            ("GET", f"{base}?stream=true&starting_after=3"),
            ("GET", f"{base}/input_items"),
            ("POST", f"{base}/cancel"),
            ("POST", f"{base}/retry"),
            ("DELETE", base),
        ):
            async with http.session.request(method, URL(url, encoded=True)) as answer:
                assert answer.status in (404, 405), (method, url)
                error = await error_of(answer)
                assert error["type"] == "invalid_request_error"
                if response_id == UNKNOWN:
                    assert error["message"] == f"Response with id '{UNKNOWN}' not found."


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/responses", {"GET", "POST", "HEAD"}),
        ("PATCH", f"/v1/responses/{UNKNOWN}", {"GET", "DELETE", "HEAD"}),
        ("GET", f"/responses/{UNKNOWN}/cancel", {"POST"}),
        ("POST", f"/responses/{UNKNOWN}/input_items", {"GET", "HEAD"}),
        ("GET", "/invocations", {"POST"}),
        ("DELETE", "/health", {"GET", "HEAD"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    http: Inside, method: str, path: str, allowed: set[str]
) -> None:
    async with http.session.request(method, f"{http.url}{path}") as answer:
        assert answer.status == 405
        assert (await error_of(answer))["message"] == f"{path} does not take {method}."
        assert set(answer.headers["Allow"].split(",")) == allowed


async def test_who_may_not_enter_is_told_how_as_json(dsn: str) -> None:
    def nobody(request: web.Request) -> str:
        raise web.HTTPUnauthorized(
            reason="The token has expired.", headers={"WWW-Authenticate": "Bearer"}
        )

    async with (
        inside(dsn, handler, principal=nobody) as http,
        http.session.get(f"{http.url}/responses") as answer,
    ):
        assert answer.status == 401
        assert (await error_of(answer))["message"] == "The token has expired."
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nowhere",
        "/v2/responses",
        "/v1/chat/completions",
        "/v1/invocations",
        f"/responses/{UNKNOWN}/compact",
        f"/v1/responses/{UNKNOWN}/",
        "/docs",
    ],
)
async def test_an_unknown_path_is_not_found_as_json(http: Inside, path: str) -> None:
    async with http.session.get(f"{http.url}{path}") as answer:
        assert answer.status == 404
        assert path in (await error_of(answer))["message"]


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/responses?limit=0", "/responses"])
async def test_the_request_id_of_the_caller_is_kept(http: Inside, path: str) -> None:
    url = f"{http.url}{path}"
    async with http.session.get(url, headers={"x-request-id": "abc-1"}) as answer:
        assert answer.headers["x-request-id"] == "abc-1"
    for given in ({}, {"x-request-id": "with space"}, {"x-request-id": "x" * 200}):
        async with http.session.get(url, headers=given) as answer:
            assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("limit=-1", "limit"),
        ("order=up", "order"),
        ("status=done", "status"),
        ("conversation=%00", "conversation"),
        ("metadata.a=%00", "metadata.a"),
        ("metadata.%00=a", "metadata.\0"),
        ("tools=maybe", "tools"),
        ("resume_marker=never", "resume_marker"),
    ],
)
async def test_a_query_that_is_wrong_is_refused(http: Inside, query: str, param: str) -> None:
    async with http.session.get(URL(f"{http.url}/responses?{query}", encoded=True)) as answer:
        assert answer.status == 400
        assert (await error_of(answer))["param"] == param


async def test_an_empty_cursor_is_none(http: Inside) -> None:
    response_id = await http.post()
    for path in ("/responses", f"/responses/{response_id}/input_items"):
        async with http.session.get(f"{http.url}{path}?after=") as answer:
            assert len((await answer.json())["data"]) == 1


@pytest.mark.parametrize("path", ["/health", "/agent/info", "/openapi.json"])
async def test_what_is_no_response_is_there_with_v1_and_without(http: Inside, path: str) -> None:
    answers = []
    for prefix in ("", "/v1"):
        async with http.session.get(f"{http.url}{prefix}{path}") as answer:
            assert answer.status == 200
            answers.append(await answer.json())
    assert answers[0] == answers[1]


async def test_head_has_the_headers_of_a_stream_and_no_stream(http: Inside) -> None:
    """Read from the socket: an HTTP client would not look for a body."""
    url = URL(f"{http.url}/responses/{await http.post()}")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"HEAD %b?stream=true HTTP/1.1\r\nHost: x\r\n\r\n" % url.path.encode())
    async with asyncio.timeout(TIMEOUT):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"text/event-stream" in head and body == b""


async def test_a_query_that_the_sdks_may_send_is_tolerated(http: Inside) -> None:
    response_id = await http.post()
    query = "include[]=a&include=b&include_obfuscation=true&anything=1"
    async with http.session.get(f"{http.url}/responses/{response_id}?{query}") as answer:
        assert answer.status == 200
    for flag in ("stream=maybe", "stream=true&event_ids=2"):
        async with http.session.get(f"{http.url}/responses/{response_id}?{flag}") as answer:
            assert answer.status == 400
            assert (await error_of(answer))["param"] in ("stream", "event_ids")
