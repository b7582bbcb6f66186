"""The OpenAPI document against the server it describes: schemathesis, on a real Postgres."""

from __future__ import annotations

import asyncio
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import requests
import schemathesis
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from schemathesis import Case, CheckFunction, GenerationMode
from schemathesis import Response as Answer
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from pgdurable import Agent, LongRunningAgentServer
from pgdurable.server.openapi import build
from pgdurable.server.openapi.page import render
from tests.support.serving import served

# It watches the `random` module, which the server's thread uses meanwhile.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
)

load_all_checks()
document = schemathesis.openapi.from_dict(build())
with_an_id = [
    found.ok()
    for found in document.get_all_operations()
    if isinstance(found, Ok) and "{response_id}" in found.ok().path
]
bounded = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def database(admin: psycopg.Connection[TupleRow], admin_dsn: str, template: str) -> Iterator[str]:
    name = f"openapi_{os.getpid()}"
    identifiers = sql.Identifier(name), sql.Identifier(template)
    admin.execute(sql.SQL("create database {} template {}").format(*identifiers))
    yield make_conninfo(admin_dsn, dbname=name)
    admin.execute(sql.SQL("drop database {} with (force)").format(identifiers[0]))


@pytest.fixture(scope="module")
def server(database: str) -> LongRunningAgentServer:
    agent = Agent()

    @agent.stream()
    async def answer(request: Any) -> Any:
        said = [item.get("content") for item in request.input]
        if said == ["fail"]:
            raise ValueError("as you wish")
        if said == ["wait"]:
            await asyncio.Event().wait()
        yield "Hello. "
        for item in (
            {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "ok"},
        ):
            yield {"type": "response.output_item.done", "item": item}

    return LongRunningAgentServer(dsn=database, agent=agent, drain_timeout_seconds=0)


@pytest.fixture(scope="module")
def address(server: LongRunningAgentServer) -> Iterator[str]:
    with served(server.app) as address:
        yield address


def post(address: str, said: str) -> str:
    """The id of a new background response, which has ended unless it waits."""
    body: dict[str, Any] = {
        "input": said,
        "background": True,
        "conversation": "c",
        "metadata": {"k": "v"},
    }
    created = requests.post(f"{address}/responses", json=body, timeout=30).json()["id"]
    if said != "wait":
        requests.get(f"{address}/responses/{created}?stream=true", timeout=30)
    return str(created)


def beyond_schemas(case: Case[Any], answer: Answer) -> list[CheckFunction]:
    """The checks that do not hold here, for a reason that no schema can tell.

    A request of the right shape may name what there is not, cancel what runs in the foreground,
    or hold a number that does not fit 64 bits; a cursor of the wrong shape does not matter to a
    reader that wants no stream.
    """
    if answer.status_code == 400:
        error = answer.json()["error"]
        unknown = error["param"] == "after" or error["code"] == "previous_response_not_found"
        foreground = error["param"] == "id"
        if unknown or foreground or "does not fit 64 bits" in error["message"]:
            return [positive_data_acceptance]
    if case.operation.label == "GET /responses/{response_id}" and answer.status_code == 200:
        return [negative_data_rejection]
    return []


def check(case: Case[Any], address: str) -> int:
    """Every check of one exchange; returns the answer's status."""
    answer = case.call(base_url=address, timeout=30)
    if answer.status_code == 409 and case.headers.pop("Idempotency-Key", None):
        answer = case.call(base_url=address, timeout=30)  # the key was another case's, too
    case.validate_response(answer, excluded_checks=beyond_schemas(case, answer))
    return answer.status_code


@document.parametrize()
@bounded
def test_the_server_is_what_its_document_says(case: Case[Any], address: str) -> None:
    check(case, address)


@pytest.mark.parametrize("operation", with_an_id, ids=lambda operation: operation.label)
def test_so_it_is_for_responses_that_exist(operation: Any, address: str) -> None:
    ids = [post(address, said) for said in ("hello", "hello", "fail")]
    if operation.method != "get" or operation.path.endswith("input_items"):
        ids += [post(address, "wait"), post(address, "wait")]
    statuses = set()

    @bounded
    @given(operation.as_strategy(generation_mode=GenerationMode.POSITIVE), st.sampled_from(ids))
    def test(case: Case[Any], response_id: str) -> None:
        case.path_parameters["response_id"] = response_id
        statuses.add(check(case, address))

    test()
    assert 200 in statuses


@bounded
@given(data=st.data())
def test_so_it_is_in_any_order_of_calls(data: st.DataObject, address: str) -> None:
    response_id = post(address, data.draw(st.sampled_from(["hello", "fail"])))
    deleted = False
    for operation in data.draw(st.lists(st.sampled_from(with_an_id), max_size=6)):
        case = data.draw(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        case.path_parameters["response_id"] = response_id
        assert (check(case, address) == 404) == deleted
        deleted = deleted or operation.method == "delete"


def test_every_route_is_described_and_every_description_has_its_route(
    server: LongRunningAgentServer,
) -> None:
    routes = {
        (route.method, route.resource.canonical)
        for route in server.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    described = set()
    for path, item in build()["paths"].items():
        for one in item.get("servers", build()["servers"]):
            prefix = one["url"].rstrip("/")
            described |= {
                (m.upper(), prefix + path) for m in item if m in ("get", "post", "delete")
            }
    assert routes == described


def test_links_lead_to_operations() -> None:
    operations = [
        operation
        for item in build()["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict)
    ]
    linked = {
        link["operationId"]
        for operation in operations
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    }
    assert linked and linked <= {operation["operationId"] for operation in operations}


async def test_a_mounted_server_says_where_it_is(dsn: str) -> None:
    server = LongRunningAgentServer(dsn=dsn, agent=Agent())
    outer = web.Application()
    outer.add_subapp("/my", server.app)
    async with TestClient(TestServer(outer)) as client:
        for path in ("/my/openapi.json", "/my/v1/openapi.json"):
            got = await (await client.get(path)).json()
            assert [one["url"] for one in got["servers"]] == ["/my", "/my/v1"]
            assert got["paths"]["/invocations"]["servers"] == [{"url": "/my"}]


@pytest.mark.parametrize(
    "given_id",
    ["%00", "..%2f..%2fhealth", "resp_%00", "resp_" + "F" * 32, "%ff%fe", "x" * 4000, "a%0d%0ab"],
    ids=lambda given_id: given_id[:20],
)
@pytest.mark.parametrize("operation", with_an_id, ids=lambda operation: operation.label)
def test_hostile_ids_are_unknown_ones(operation: Any, given_id: str, address: str) -> None:
    url = address + operation.path.replace("{response_id}", given_id)
    answer = requests.request(operation.method, url, timeout=30)

    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_the_page_is_up_to_date() -> None:
    """python -m pgdurable.server.openapi > docs/http-api.md"""
    page = pathlib.Path(__file__).parents[2] / "docs" / "http-api.md"
    assert page.read_text() == render(build())
