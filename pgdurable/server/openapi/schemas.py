"""What goes in and out, as JSON Schema.

A request's schema says what the server checks, no more: what it only passes on to the agent, or
echoes, has no type here.
"""

from __future__ import annotations

from typing import Any

from pgdurable.models import Status
from pgdurable.requests.parse import MAX_ID_BYTES

Schema = dict[str, Any]

ITEM_TYPES = (
    "`message`, `reasoning`, `function_call`, `function_call_output`, `mcp_call`, or any other type"
)


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(description: str, properties: Schema, *, required: list[str] | None = None) -> Schema:
    """An object with these properties, all of them required by default, and any others."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": True,
    }


def _said(description: str, schema: Schema | None = None) -> Schema:
    return {"description": description, **(schema or {})}


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
SWITCH: Schema = {"type": ["boolean", "null"]}
RESPONSE_ID: Schema = {"type": "string", "pattern": "^resp_[0-9a-f]{32}$"}
STATUS: Schema = {"type": "string", "enum": [str(status) for status in Status]}

CREATE_RESPONSE = _object(
    "The Responses API's request. Unknown keys and item types reach the agent as they were sent.",
    {
        "input": _said(
            "What the user says: a text, or items. An `item_reference` is replaced by the item of "
            "that id from an earlier response.",
            {"anyOf": [TEXT, {"type": "array", "items": {"type": "object"}}]},
        ),
        "stream": _said("Answer with server-sent events.", SWITCH),
        "background": _said("Answer at once; the response goes on without the client.", SWITCH),
        "store": _said(
            "`false` deletes the response once it has been answered. Not together with "
            "`background`.",
            SWITCH,
        ),
        "model": _said("A text; echoed. Absent, the agent's name stands in."),
        "previous_response_id": _said(
            "The response whose items, and those before it, come first in the agent's input.",
            {"type": ["string", "null"], "maxLength": MAX_ID_BYTES},
        ),
        "conversation": _said("A conversation's id, or an object with an `id`."),
        "context": _said("An object with `conversation_id` and `user_id` (MLflow)."),
        "custom_inputs": _said(
            "An object for the agent (MLflow); its `thread_id` or `session_id` names the "
            "conversation before anything else does."
        ),
        "metadata": _said(
            "Echoed, and what the list can be searched by.", {"type": ["object", "null"]}
        ),
        "instructions": _said("Echoed, like the other parameters of the Responses API."),
    },
    required=["input"],
)
CREATE_RESPONSE["not"] = {
    "properties": {"background": {"const": True}, "store": {"const": False}},
    "required": ["background", "store"],
}

ITEM = _object(f"An output item: {ITEM_TYPES}.", {"id": TEXT, "type": TEXT})

INPUT_ITEM = _object("An input item as it was sent; one without an id has got one.", {"id": TEXT})

FAILURE = _object("Why a response failed.", {"code": TEXT, "message": TEXT, "type": TEXT})

USAGE = _object(
    "Tokens, added up over the agent's model calls.",
    {
        "input_tokens": COUNT,
        "input_tokens_details": {"type": "object"},
        "output_tokens": COUNT,
        "output_tokens_details": {"type": "object"},
        "total_tokens": COUNT,
    },
)

RESPONSE = _object(
    "A response. What the request said of it is echoed beside these fields.",
    {
        "id": RESPONSE_ID,
        "object": {"const": "response"},
        "created_at": _said("Seconds since 1970.", {"type": "integer"}),
        "status": _said("`queued` and `in_progress` change; the others are final.", STATUS),
        "attempt_number": _said("Grows by one whenever a worker takes the response over.", COUNT),
        "background": {"type": "boolean"},
        "store": {"type": "boolean"},
        "error": nullable(ref("Failure")),
        "incomplete_details": nullable(
            _object("Why it is incomplete; `cancelled` among others.", {"reason": TEXT})
        ),
        "output": _said(
            "The finished items so far; at the end those of the attempt that finished.",
            {"type": "array", "items": ref("Item")},
        ),
        "model": TEXT,
        "metadata": {"type": "object"},
        "parallel_tool_calls": {"type": "boolean"},
        "tool_choice": {"type": ["string", "object"]},
        "tools": {"type": "array"},
        "text": {"type": "object"},
        "usage": ref("Usage"),
        "custom_outputs": _said("What the agent returns beside its items (MLflow)."),
    },
)
RESPONSE["required"] = [
    name for name in RESPONSE["required"] if name not in ("usage", "custom_outputs")
]

FRAME = _object(
    "One frame of a stream, as parsers of server-sent events give it.",
    {"data": _said("An [Event](#event) as JSON; `[DONE]` in the last frame.", TEXT)},
)

EVENT = _object(
    "An event of the Responses API; those that begin or end a response hold it as `response`.",
    {
        "type": _said("`response.output_text.delta`, for one.", TEXT),
        "sequence_number": _said("The cursor: what `starting_after` takes.", COUNT),
        "response_id": RESPONSE_ID,
    },
)

DELETED = _object(
    "The response is gone.",
    {"id": RESPONSE_ID, "object": {"const": "response"}, "deleted": {"const": True}},
)

ERROR = _object(
    "Everything that goes wrong has this shape.",
    {
        "error": _object(
            "",
            {
                "message": TEXT,
                "type": {"type": "string", "enum": ["invalid_request_error", "server_error"]},
                "param": _said("The parameter that is at fault.", {"type": ["string", "null"]}),
                "code": {"type": ["string", "null"]},
            },
        )
    },
)


def _page(of: str, what: str) -> Schema:
    return _object(
        f"A page of {what}. The next one starts `after` its `last_id`.",
        {
            "object": {"const": "list"},
            "data": {"type": "array", "items": ref(of)},
            "has_more": {"type": "boolean"},
            "first_id": {"type": ["string", "null"]},
            "last_id": {"type": ["string", "null"]},
        },
    )


CONVERSATION = _object(
    "Where a conversation is now, and how it got there.",
    {
        "id": _said("As the client named it; it never changes for the client.", TEXT),
        "object": {"const": "conversation"},
        "current_conversation_id": _said("What the agent gets in its place.", TEXT),
        "active_response_id": _said(
            "The response that is queued or in progress, for a page that wants to go on reading.",
            {"type": ["string", "null"]},
        ),
        "latest_response_id": TEXT,
        "rotations": _said(
            "After a crash the agent goes on in a fresh conversation; oldest first.",
            {
                "type": "array",
                "items": _object(
                    "",
                    {
                        "conversation_id": TEXT,
                        "response_id": RESPONSE_ID,
                        "attempt": COUNT,
                        "at": _said("Seconds since 1970.", {"type": "number"}),
                    },
                ),
            },
        ),
    },
)

HEALTH = _object("The process answers.", {"status": {"const": "healthy"}})

AGENT_INFO = _object(
    "MLflow's description of an agent.",
    {
        "name": TEXT,
        "use_case": {"const": "agent"},
        "agent_api": {"const": "responses"},
        "pgdurable_version": TEXT,
        "mlflow_version": _said("Where MLflow is installed.", TEXT),
    },
    required=["name", "use_case", "agent_api", "pgdurable_version"],
)

SCHEMAS: dict[str, Schema] = {
    "CreateResponse": CREATE_RESPONSE,
    "Response": RESPONSE,
    "Frame": FRAME,
    "Event": EVENT,
    "Item": ITEM,
    "InputItem": INPUT_ITEM,
    "Failure": FAILURE,
    "Usage": USAGE,
    "DeletedResponse": DELETED,
    "ResponseList": _page("Response", "responses"),
    "InputItemList": _page("InputItem", "input items"),
    "Conversation": CONVERSATION,
    "Health": HEALTH,
    "AgentInfo": AGENT_INFO,
    "Error": ERROR,
}
