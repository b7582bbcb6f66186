"""What goes into an operation beside its body, and what comes out beside it."""

from __future__ import annotations

from typing import Any, get_args

from pgdurable.config import ResumeMarker, Tools
from pgdurable.models import Status

Parameter = dict[str, Any]

_SWITCH = {"type": "string", "enum": ["true", "false", "1", "0"], "default": "false"}
_SEQUENCE_NUMBER = {"type": "integer", "minimum": -1, "maximum": 2**63 - 1}
_NO_NUL = "^[^\\u0000]*$"


def _query(name: str, description: str, schema: Parameter, **more: Any) -> Parameter:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


def _path(name: str, description: str) -> Parameter:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1},
    }


def _header(name: str, description: str, schema: Parameter) -> Parameter:
    return {"name": name, "in": "header", "description": description, "schema": schema}


RESPONSE_ID = _path("response_id", "A response's id; 404 for one that is unknown or not yours.")
BASE_ID = _path("base_id", "The conversation's id as the client named it; slashes may be in it.")

TOOLS = _query(
    "tools",
    "How tool calls that the agent has executed itself are shown. `mcp_call`: a call and its "
    "output as one item that no client tries to execute. The default is the server's setting.",
    {"type": "string", "enum": list(get_args(Tools))},
)
RESUME_MARKER = _query(
    "resume_marker",
    "How a stream shows that another worker went on. `in_progress`: as a `response.in_progress` "
    "event, for clients that refuse types they do not know. The default is the server's setting.",
    {"type": "string", "enum": list(get_args(ResumeMarker))},
)
EVENT_IDS = _query("event_ids", "Streams: an `id:` line in each frame, for `EventSource`.", _SWITCH)
VIEW = [TOOLS, RESUME_MARKER, EVENT_IDS]

STREAM = _query("stream", "Answer with the response's events: those stored, then live.", _SWITCH)
STARTING_AFTER = _query(
    "starting_after",
    "Streams: the number of the last event that is not wanted again; `-1` for all, `now` for new "
    "ones only. Without it, `Last-Event-ID` counts.",
    {"anyOf": [_SEQUENCE_NUMBER, {"const": "now"}]},
)
LAST_EVENT_ID = _header(
    "Last-Event-ID", "Streams: what `EventSource` sends when it comes back.", _SEQUENCE_NUMBER
)

IDEMPOTENCY_KEY = _header(
    "Idempotency-Key",
    "The same key with the same body answers with the same response, however often it is sent.",
    {"type": "string", "maxLength": 255},
)
PREFER = _header(
    "Prefer",
    "`wait=N`: answer 202 with the queued response where it takes more than N seconds.",
    {"type": "string", "examples": ["wait=30"]},
)
TRACE = _header(
    "x-mlflow-return-trace-id",
    "`true`: a stream ends with a `trace_id` frame, where there is a trace.",
    {"type": "string"},
)

LIMIT = _query(
    "limit", "Items on a page.", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
)
ORDER = _query("order", "By age.", {"type": "string", "enum": ["asc", "desc"], "default": "desc"})
AFTER_ITEM = _query("after", "The last item of the page before.", {"type": "string"})
AFTER_RESPONSE = _query(
    "after", "The last response of the page before.", {"type": "string", "pattern": _NO_NUL}
)
STATUS = _query(
    "status", "Only those.", {"type": "string", "enum": [str(status) for status in Status]}
)
CONVERSATION = _query(
    "conversation",
    "Only those of this conversation, named as the client names it.",
    {"type": "string", "pattern": _NO_NUL},
)
METADATA = _query(
    "metadata.KEY",
    "Only those whose metadata has this text under `KEY`, which stands for any key; several "
    "such parameters must all fit.",
    {"type": "string", "pattern": _NO_NUL},
)

REQUEST_ID = {
    "description": "The client's `x-request-id`, or one made here.",
    "schema": {"type": "string"},
}
HEADERS: dict[str, Parameter] = {
    "x-request-id": REQUEST_ID,
    "X-Response-Id": {"description": "The response's id.", "schema": {"type": "string"}},
    "Location": {"description": "Where the response is.", "schema": {"type": "string"}},
    "x-should-retry": {
        "description": "`false` where the same request would only run the agent again.",
        "schema": {"const": "false"},
    },
    "retry-after": {"description": "Seconds.", "schema": {"type": "string"}},
}
