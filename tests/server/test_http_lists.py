"""Lists, pages, conversations, and whose responses one may see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pgdurable import AgentRequest, Context
from tests.support.inside import Inside, inside, text_of
from tests.support.waiting import wait_until


async def remember(request: AgentRequest, context: Context) -> AsyncIterator[str]:
    """Every message so far, and the conversation."""
    for item in request.input:
        content = item.get("content")
        said = content if isinstance(content, str) else "".join(p["text"] for p in content or [])
        yield f"[{item.get('role')} {said}]"
    yield f" in {context.base_conversation_id}"


@pytest.fixture
async def http(dsn: str) -> AsyncIterator[Inside]:
    async with inside(
        dsn, remember, principal=lambda request: request.headers.get("x-user", "")
    ) as http:
        yield http


async def ask(http: Inside, headers: Any = None, **body: Any) -> Any:
    url = f"{http.url}/responses"
    async with http.session.post(url, json={"input": "hi", **body}, headers=headers) as answer:
        return await answer.json()


async def get(http: Inside, path: str, headers: Any = None, **query: str) -> tuple[int, Any]:
    url = f"{http.url}{path}"
    async with http.session.get(url, params=query, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_input_items_are_paged_in_both_orders(http: Inside) -> None:
    given = [{"role": "user", "content": str(n)} for n in range(45)]
    response = await ask(http, input=given)
    path = f"/responses/{response['id']}/input_items"
    for order, wanted in (("asc", given), ("desc", given[::-1])):
        for size in ("1", "7", "100"):
            query, items = {"order": order, "limit": size}, list[Any]()
            while True:
                _, page = await get(http, path, **query)
                assert page["object"] == "list" and len(page["data"]) <= int(size)
                items += page["data"]
                assert page["first_id"] == page["data"][0]["id"]
                assert page["last_id"] == page["data"][-1]["id"]
                if not page["has_more"]:
                    break
                query["after"] = page["last_id"]
            assert [item["content"] for item in items] == [item["content"] for item in wanted]
            assert len({item["id"] for item in items}) == 45
    _, page = await get(http, path)
    assert [item["content"] for item in page["data"]] == [str(n) for n in range(44, 24, -1)]
    assert (await get(http, path, after="item_unknown"))[0] == 400


async def test_responses_are_listed_by_what_they_are(http: Inside) -> None:
    ids = [
        (await ask(http, metadata={"n": str(n % 2)}, conversation=f"c{n % 3}"))["id"]
        for n in range(6)
    ]
    newest_first, pages = ids[::-1], list[bool]()

    async def listed(**query: str) -> list[str]:
        _, page = await get(http, "/v1/responses", **query)
        pages.append(page["has_more"])
        return [response["id"] for response in page["data"]]

    assert await listed() == newest_first
    assert await listed(order="asc", limit="6") == ids
    assert pages == [False, False]
    assert await listed(status="completed", limit="2") == newest_first[:2]
    assert await listed(after=newest_first[1], limit="2") == newest_first[2:4]
    assert await listed(status="failed") == []
    assert await listed(**{"metadata.n": "1"}) == [ids[5], ids[3], ids[1]]
    assert await listed(conversation="c0") == [ids[3], ids[0]]
    assert await listed(conversation="c0", **{"metadata.n": "1"}) == [ids[3]]


async def test_nobody_sees_what_belongs_to_somebody_else(http: Inside) -> None:
    ann, bob = {"x-user": "ann"}, {"x-user": "bob"}
    response = await ask(http, ann, conversation="c")
    path = f"/responses/{response['id']}"
    for suffix in ("", "?stream=true", "/input_items"):
        async with http.session.get(http.url + path + suffix, headers=bob) as answer:
            assert answer.status == 404
    for method, suffix in (("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
        async with http.session.request(method, http.url + path + suffix, headers=bob) as answer:
            assert answer.status == 404
    assert (await get(http, "/responses", bob))[1]["data"] == []
    assert (await get(http, "/conversations/c", bob))[0] == 404
    assert (await get(http, "/conversations/c", ann))[0] == 200
    refused = await ask(http, bob, previous_response_id=response["id"])
    assert refused["error"]["code"] == "previous_response_not_found"
    reference = {"type": "item_reference", "id": response["output"][0]["id"]}
    assert reference["id"] in (await ask(http, bob, input=[reference]))["error"]["message"]
    assert (await get(http, path, ann))[1] == response


@pytest.mark.parametrize(
    "anchor",
    [
        {"conversation": "c/1 ü"},
        {"conversation": {"id": "c/1 ü"}},
        {"context": {"conversation_id": "c/1 ü"}},
        {"custom_inputs": {"thread_id": "c/1 ü"}},
        {"custom_inputs": {"session_id": "c/1 ü"}},
    ],
)
async def test_a_conversation_is_found_by_its_id(http: Inside, anchor: dict[str, Any]) -> None:
    response = await ask(http, **anchor)
    assert text_of(response).endswith(" in c/1 ü")
    for prefix in ("", "/v1"):
        status, found = await get(http, f"{prefix}/conversations/c/1 ü")
        assert status == 200 and found["object"] == "conversation"
        assert found["id"] == found["current_conversation_id"] == "c/1 ü"
        assert found["latest_response_id"] == response["id"]
        assert (found["active_response_id"], found["rotations"]) == (None, [])
    assert (await get(http, "/conversations/unknown"))[0] == 404


@pytest.mark.parametrize("stored_by", [{}, {"background": True}])
async def test_the_chain_comes_before_the_input(http: Inside, stored_by: dict[str, Any]) -> None:
    first = await ask(http, input="one")
    second = await ask(http, input="two", previous_response_id=first["id"])
    third_id = (await ask(http, input="three", previous_response_id=second["id"], **stored_by))[
        "id"
    ]
    said = text_of(await http.finished(third_id))
    one = "[user one][assistant [user one] in None]"
    assert said.startswith(f"{one}[user two][assistant {one}[user two] in None][user three]")


async def test_a_reference_is_the_item_it_names(http: Inside) -> None:
    first = await ask(http, input="one")
    item_id = first["output"][0]["id"]
    for reference in ({"type": "item_reference", "id": item_id}, {"id": item_id}):
        given = [reference, {"role": "user", "content": "two"}]
        said = text_of(await ask(http, input=given))
        assert said == "[assistant [user one] in None][user two] in None"


async def test_a_retry_has_no_client_that_waits_and_can_be_cancelled(dsn: str) -> None:
    async def handler(request: AgentRequest, context: Context) -> AsyncIterator[str]:
        yield "word"
        calls.append(context.response_id)
        if len(calls) > 1:
            await asyncio.Event().wait()

    calls: list[str] = []
    async with inside(dsn, handler) as http:
        async with http.session.post(f"{http.url}/responses", json={"input": "hi"}) as answer:
            first = await answer.json()
        async with http.session.post(f"{http.url}/responses/{first['id']}/retry") as answer:
            again = await answer.json()
        await wait_until(lambda: len(calls) == 2)
        async with http.session.post(f"{http.url}/responses/{again['id']}/cancel") as answer:
            assert answer.status == 200
            cancelled = await answer.json()

    assert (first["status"], first["background"]) == ("completed", False)
    assert again["background"] is True
    assert (cancelled["status"], cancelled["background"]) == ("cancelled", True)
