"""How responses end early, and what is refused."""

from __future__ import annotations

import uuid
from typing import Any

import openai

from tests.clients.openai_python.harness import made, poll, refused, server, text


@server
def cancel(client: Any) -> None:
    asked = {"model": "m", "input": "forever", "background": True, "stream": True}
    seen: list[Any] = []
    for event in client.responses.create(**asked):
        seen.append(event)
        if len(seen) == 8:
            cancelled = client.responses.cancel(seen[0].response.id)
            assert cancelled.status == "cancelled", cancelled
            assert client.responses.cancel(cancelled.id) == cancelled
    assert seen[-1].type == "response.incomplete"
    assert seen[-1].response.status == "cancelled"
    assert seen[-1].response.incomplete_details.reason == "cancelled"
    assert seen[-1].response.output_text.startswith("on and ")


@server
def cancel_with_the_helper_attached(client: Any) -> None:
    with client.responses.stream(model="m", input="forever", background=True) as stream:
        seen = []
        for event in stream:
            seen.append(event)
            if len(seen) == 8:
                client.responses.cancel(seen[0].response.id)
    assert seen[-1].type == "response.incomplete"


@server
def cancel_of_a_finished_and_of_a_foreground_response(client: Any) -> None:
    done = poll(client, client.responses.create(model="m", input="text 2", background=True))
    assert client.responses.cancel(done.id) == done
    foreground = client.responses.create(model="m", input="text 2")
    error = refused(openai.BadRequestError, client.responses.cancel, foreground.id)
    assert "background=true" in str(error)


@server
def delete(client: Any) -> None:
    for asked in ("text 2", "forever"):
        response = client.responses.create(model="m", input=asked, background=True)
        client.responses.delete(response.id)
        responses = client.responses
        for call, arguments in (
            (responses.retrieve, {}),
            (responses.retrieve, {"stream": True}),
            (responses.cancel, {}),
            (responses.delete, {}),
            (responses.input_items.list, {}),
        ):
            error = refused(openai.NotFoundError, call, response.id, **arguments)
            assert response.id in str(error) and error.body["type"] == "invalid_request_error"


@server
def failure_of_a_blocking_call_runs_the_handler_once(client: Any) -> None:
    for when in ("before", "after"):
        tag = uuid.uuid4().hex
        asked = {"model": "m", "input": f"fail {when}", "metadata": {"tag": tag}}
        error = refused(openai.InternalServerError, client.responses.create, **asked)
        assert "ValueError" in str(error) and "secret" not in str(error)
        assert error.body["code"] == "server_error" and error.request_id.startswith("req_")
        assert error.response.headers["x-should-retry"] == "false"
        (response,) = made(client, tag)
        assert response["status"] == "failed" and response["attempt_number"] == 1
        assert error.response.headers["x-response-id"] == response["id"]


@server
def failure_of_a_blocking_call_after_a_long_silence(client: Any) -> None:
    response = client.responses.create(model="m", input="fail late")
    assert response.status == "failed" and response.error.code == "server_error"


@server
def failure_in_a_stream(client: Any) -> None:
    for when in ("before", "after"):
        tag = uuid.uuid4().hex
        asked = {"model": "m", "input": f"fail {when}", "metadata": {"tag": tag}, "stream": True}
        events = list(client.responses.create(**asked))
        assert [event.type for event in events[-2:]] == ["error", "response.failed"]
        assert events[-2].code == "server_error"
        assert events[-1].response.error.code == "server_error"
        assert text(events) == ("So far so good" if when == "after" else "")
        assert len(made(client, tag)) == 1


@server
def failure_in_the_background(client: Any) -> None:
    response = client.responses.create(model="m", input="fail after", background=True)
    failed = poll(client, response)
    assert failed.status == "failed" and failed.error.code == "server_error"
    assert failed.output_text == "So far so good"


@server
def failure_with_the_helper(client: Any) -> None:
    with client.responses.stream(model="m", input="fail after") as stream:
        events = list(stream)
        assert events[-1].type == "response.failed"
        refused(RuntimeError, stream.get_final_response)


@server
def mistakes(client: Any) -> None:
    error = refused(openai.NotFoundError, client.responses.retrieve, "resp_unknown")
    assert error.code is None and error.type == "invalid_request_error"
    assert "resp_unknown" in str(error) and error.request_id
    refused(openai.NotFoundError, client.responses.retrieve, "resp_" + "0" * 32, stream=True)
    error = refused(openai.BadRequestError, client.responses.create, model="m", input=3)
    assert error.param == "input" and error.code == "invalid_type"
    done = client.responses.create(model="m", input="x")
    for cursor in ("rubbish", -2, 2**63):
        arguments = {"stream": True, "starting_after": cursor}
        refused(openai.BadRequestError, client.responses.retrieve, done.id, **arguments)
    refused(openai.NotFoundError, client.chat.completions.create, model="m", messages=[])


@server
def idempotency_key(client: Any) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    asked = {"model": "m", "extra_headers": headers}
    first = client.responses.create(input="text 3", **asked)
    assert client.responses.create(input="text 3", **asked) == first
    error = refused(openai.ConflictError, client.responses.create, input="text 4", **asked)
    assert error.response.headers["x-should-retry"] == "false"
