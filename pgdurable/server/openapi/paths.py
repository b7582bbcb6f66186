"""Which operations there are, and the document they make."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from pgdurable.server.openapi import parameters as p
from pgdurable.server.openapi.schemas import SCHEMAS, ref

Operation = dict[str, Any]

DESCRIPTION = """\
The OpenAI Responses API, for an agent whose every event is durable.

A response is stored before its first byte goes out and can be read again at any time, from any
event on. It is `queued`, then `in_progress`, and ends as `completed`, `failed`, `incomplete` or
`cancelled`. Each operation is served with and without `/v1`, unless it says otherwise.

A stream is server-sent events: `data:` lines with one JSON object each, whose `sequence_number`
starts at 0 and has no gaps; comments keep the connection alive; `data: [DONE]` is the end. A reader
that lost its connection comes back with `starting_after`. When a worker dies, another one goes on:
the stream then has a `response.resumed` event, and what the dead one left open is closed as
`incomplete`; neither, where the agent restarts and says the same again.

Error answers have one shape, `Error`, whatever the path or the method; 503 means that the same
request may succeed later, `x-should-retry: false` that it must not simply be sent again."""

_ERRORS = {
    400: "The request is wrong; `param` says where.",
    404: "There is no such thing, or it is not yours.",
    408: "The body did not arrive in time.",
    409: "It is not possible now.",
    413: "The body is too large.",
    500: "The agent failed, or the server.",
    503: "The database cannot be reached, or too much is waiting.",
}


def build(mount: str = "") -> dict[str, Any]:
    """The whole document; `mount` is the path that the application is mounted on."""
    one, read = "/responses/{response_id}", [p.RESPONSE_ID]
    here = {"servers": [{"url": mount or "/"}]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pgdurable",
            "version": metadata.version("pgdurable"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": mount or "/"}, {"url": f"{mount}/v1"}],
        "paths": {
            "/responses": {"post": _create("createResponse"), "get": _list()},
            "/invocations": {**here, "post": _create("invoke")},
            one: {"parameters": read, "get": _retrieve(), "delete": _delete()},
            f"{one}/input_items": {"parameters": read, "get": _input_items()},
            f"{one}/cancel": {"parameters": read, "post": _cancel()},
            f"{one}/retry": {"parameters": read, "post": _retry()},
            "/conversations/{base_id}": {"parameters": [p.BASE_ID], "get": _conversation()},
            "/health": {"get": _health()},
            "/agent/info": {"get": _agent_info()},
            "/openapi.json": {"get": _document()},
        },
        "components": {"schemas": SCHEMAS, "headers": p.HEADERS},
    }


def _create(operation_id: str) -> Operation:
    first = operation_id == "createResponse"
    return {
        "operationId": operation_id,
        "summary": "Start a response" if first else "Start a response, as MLflow's clients do",
        "description": (
            "Four modes: blocking, `stream`, `background`, or both. A blocking or streaming client "
            "that leaves cancels its response, unless the server is set otherwise; a background "
            "one never does. A blocking answer may start with spaces, sent to keep the connection "
            "alive."
            if first
            else "The same operation under another name; not under `/v1`."
        ),
        "parameters": [*p.VIEW, p.IDEMPOTENCY_KEY, p.PREFER, p.TRACE],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref("CreateResponse")}},
        },
        "responses": {
            "200": {**_json("Response", "The response, or its stream.", located=True), **_links()}
            | {"content": {**_content("Response"), **_EVENTS}},
            "202": _json("Response", "`Prefer: wait=N` is over; it goes on.", located=True),
            **_errors(400, 408, 409, 413, 500, 503),
        },
    }


def _retrieve() -> Operation:
    ok = _json("Response", "The response as it is now, or its stream.", located=True)
    ok["content"] |= _EVENTS
    return {
        "operationId": "getResponse",
        "summary": "Read a response, or follow it",
        "description": "Reading changes nothing, and any number of readers may follow a response.",
        "parameters": [p.STREAM, p.STARTING_AFTER, p.LAST_EVENT_ID, *p.VIEW, p.TRACE],
        "responses": {"200": ok, **_errors(400, 404, 500, 503)},
    }


def _delete() -> Operation:
    return {
        "operationId": "deleteResponse",
        "summary": "Delete a response",
        "description": "Also while it runs: it is cancelled, and unknown from then on.",
        "responses": {"200": _json("DeletedResponse", "It is gone."), **_errors(404, 500, 503)},
    }


def _input_items() -> Operation:
    return {
        "operationId": "listInputItems",
        "summary": "What a response was asked",
        "parameters": [p.LIMIT, p.ORDER, p.AFTER_ITEM],
        "responses": {"200": _json("InputItemList", "A page."), **_errors(400, 404, 500, 503)},
    }


def _cancel() -> Operation:
    return {
        "operationId": "cancelResponse",
        "summary": "Cancel a background response",
        "description": "What it has said so far is kept. A finished one is answered as it is.",
        "parameters": [p.TOOLS],
        "responses": {
            "200": _json("Response", "The response.", located=True),
            **_errors(400, 404, 500, 503),
        },
    }


def _retry() -> Operation:
    return {
        "operationId": "retryResponse",
        "summary": "Ask the same again",
        "description": "A new response, in the background, with the request of a finished one, "
        "which stays as it is.",
        "parameters": [p.TOOLS],
        "responses": {
            "200": {**_json("Response", "The new response.", located=True), **_links()},
            **_errors(400, 404, 409, 500, 503),
        },
    }


def _list() -> Operation:
    return {
        "operationId": "listResponses",
        "summary": "Find responses",
        "parameters": [
            *(p.STATUS, p.CONVERSATION, p.METADATA, p.AFTER_RESPONSE, p.LIMIT, p.ORDER),
            p.TOOLS,
        ],
        "responses": {"200": _json("ResponseList", "A page."), **_errors(400, 500, 503)},
    }


def _conversation() -> Operation:
    return {
        "operationId": "getConversation",
        "summary": "Where a conversation is now",
        "responses": {"200": _json("Conversation", "It is known."), **_errors(404, 500, 503)},
    }


def _health() -> Operation:
    return {
        "operationId": "health",
        "summary": "Is the process up?",
        "description": "Static: it does not ask the database.",
        "responses": {"200": _json("Health", "It is.")},
    }


def _agent_info() -> Operation:
    return {
        "operationId": "agentInfo",
        "summary": "Which agent is this?",
        "responses": {"200": _json("AgentInfo", "This one.")},
    }


def _document() -> Operation:
    content = {"application/json": {"schema": {"type": "object"}}}
    answer = {"description": "OpenAPI 3.1.", "content": content, "headers": _headers()}
    return {"operationId": "openapi", "summary": "This document", "responses": {"200": answer}}


_EVENTS = {"text/event-stream": {"schema": ref("Frame")}}


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": ref(schema)}}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("x-request-id", *names)}


def _json(schema: str, description: str, *, located: bool = False) -> dict[str, Any]:
    names = ("X-Response-Id", "Location") if located else ()
    return {
        "description": description,
        "content": _content(schema),
        "headers": _headers(*names),
    }


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): _json("Error", _ERRORS[status]) for status in statuses}


def _links() -> dict[str, Any]:
    """Where a new response's id can be used next."""
    parameters = {"response_id": "$response.body#/id"}
    operations = ("getResponse", "deleteResponse", "listInputItems", "cancelResponse")
    return {
        "links": {
            name: {"operationId": name, "parameters": parameters}
            for name in (*operations, "retryResponse")
        }
    }
