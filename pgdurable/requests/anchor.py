"""Which conversation a request means, and the same request on another one; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pgdurable.requests.fields import CONVERSATION_PATHS


def conversation_anchor(request: Mapping[str, Any]) -> str | None:
    """Return the conversation id a request names, None where it names none.

    Empty values and values that are not strings do not count.
    """
    for path in CONVERSATION_PATHS:
        if path[0] in request and (value := _at(request, path)):
            return value
    return None


def with_conversation(request: Mapping[str, Any], current: str) -> dict[str, Any]:
    """Return a copy of the request in which every conversation id it names is `current`.

    context.conversation_id is set even where none was sent. The others are rewritten rather than
    removed, so that a handler that reads only those lands on the current conversation too.
    """
    rewritten = dict(request)
    context = request.get("context")
    rewritten["context"] = {
        **(context if isinstance(context, dict) else {}),
        "conversation_id": current,
    }
    for name, *inner in CONVERSATION_PATHS:
        if _at(request, (name, *inner)):
            rewritten[name] = {**rewritten[name], inner[0]: current} if inner else current
    return rewritten


def _at(request: Mapping[str, Any], path: Sequence[str]) -> str | None:
    value: Any = request
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) and value else None
