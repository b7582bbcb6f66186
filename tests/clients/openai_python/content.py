"""What agents yield and what they are sent."""

from __future__ import annotations

from typing import Any

import openai

from tests.clients.openai_python.harness import poll, refused, server, text


@server
def tools(client: Any) -> None:
    for projection in ("function_call", "mcp_call"):
        extra = {"extra_query": {"tools": projection}}
        with client.responses.stream(model="m", input="tools", **extra) as stream:
            events = list(stream)
            final = stream.get_final_response()
        kinds = [item.type for item in final.output]
        pair = ["function_call", "function_call_output"]
        calls = pair * 2 if projection == "function_call" else ["mcp_call", "mcp_call"]
        assert kinds == ["message", *calls, "message"]
        assert final.output_text == "Let me see. The tools said 1 and 2."
        blocking = client.responses.retrieve(final.id, **extra)
        assert [item.type for item in blocking.output] == kinds
        again = client.responses.retrieve(final.id, stream=True, **extra)
        assert [event.type for event in again] == [event.type for event in events]


@server
def reasoning(client: Any) -> None:
    with client.responses.stream(model="m", input="reasoning") as stream:
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert final.output[0].summary[0].text == "First, then."


@server
def relay_of_inner_streams(client: Any) -> None:
    with client.responses.stream(model="m", input="relay") as stream:
        final = stream.get_final_response()
    assert final.output_text == "From resp_inner1. From resp_inner2. "
    assert final.usage.total_tokens == 6 and final.id.startswith("resp_")


@server
def odd_characters(client: Any) -> None:
    wanted = "nul \0 line\r\n\u2028\u2029\u0085 data: [DONE]\n\n: x \U0001f600 end"
    events = list(client.responses.create(model="m", input="odd", stream=True))
    assert text(events) == wanted == events[-1].response.output_text
    assert client.responses.create(model="m", input="odd").output_text == wanted


@server
def a_large_delta(client: Any) -> None:
    events = list(client.responses.create(model="m", input="big 1000000", stream=True))
    assert text(events) == "x" * 1_000_000
    assert max(len(e.delta) for e in events if hasattr(e, "delta")) <= 32 * 1024


@server
def an_answer_without_output(client: Any) -> None:
    with client.responses.stream(model="m", input="nothing") as stream:
        assert stream.get_final_response().output == []


@server
def turns_follow_each_other(client: Any) -> None:
    first = client.responses.create(model="m", input="My name is Ann.")
    asked = {"model": "m", "input": "memory", "previous_response_id": first.id}
    wanted = "user:My name is Ann. | assistant:My name is Ann. | user:memory"
    for background in (False, True):
        second = poll(client, client.responses.create(**asked, background=background))
        assert second.output_text == wanted and second.previous_response_id == first.id
    reference = {"type": "item_reference", "id": first.output[0].id}
    given = [reference, {"role": "user", "content": "memory"}]
    third = client.responses.create(model="m", input=given)
    assert third.output_text == "assistant:My name is Ann. | user:memory"
    for unknown in (
        {"previous_response_id": "resp_" + "0" * 32},
        {"input": [{"type": "item_reference", "id": "msg_unknown"}]},
    ):
        asked = {"model": "m", "input": "memory", **unknown}
        error = refused(openai.BadRequestError, client.responses.create, **asked)
        assert "not found" in str(error)


@server
def input_items_are_paged(client: Any) -> None:
    given = [{"role": "user", "content": f"number {n}"} for n in range(5)]
    given.append({"role": "user", "content": "text 1"})
    response = client.responses.create(model="m", input=given)
    for order in ("asc", "desc"):
        page = client.responses.input_items.list(response.id, limit=2, order=order)
        items = [item.to_dict() for item in page]
        assert len(items) == len({item["id"] for item in items}) == 6
        wanted = given if order == "asc" else given[::-1]
        assert [item["content"] for item in items] == [item["content"] for item in wanted]
    assert len(client.responses.input_items.list(response.id).data) == 6
