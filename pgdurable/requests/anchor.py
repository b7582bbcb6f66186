"""Which conversation a request means, and the same request on another one; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def conversation_anchor(request: Mapping[str, Any]) -> str | None:
    """Return the conversation id a request names, None where it names none.

    custom_inputs.thread_id comes before custom_inputs.session_id, before
    context.conversation_id, before conversation (a string or an object with an id). Empty values
    and values that are not strings do not count.
    """
    custom_inputs = _object(request.get("custom_inputs"))
    conversation = request.get("conversation")
    candidates = (
        custom_inputs.get("thread_id"),
        custom_inputs.get("session_id"),
        _object(request.get("context")).get("conversation_id"),
        _object(conversation).get("id"),
        conversation,
    )
    return next((c for c in candidates if isinstance(c, str) and c), None)


def with_conversation(request: Mapping[str, Any], current: str) -> dict[str, Any]:
    """Return a copy of the request in which every conversation id it names is `current`.

    context.conversation_id is set even where none was sent. thread_id and session_id are
    rewritten rather than removed, so that a handler that reads only those lands on the current
    conversation too.
    """
    rewritten = dict(request)
    rewritten["context"] = {**_object(request.get("context")), "conversation_id": current}
    custom_inputs = _object(request.get("custom_inputs"))
    named = {key: current for key in ("thread_id", "session_id") if _names(custom_inputs, key)}
    if named:
        rewritten["custom_inputs"] = {**custom_inputs, **named}
    conversation = request.get("conversation")
    if isinstance(conversation, str) and conversation:
        rewritten["conversation"] = current
    elif _names(_object(conversation), "id"):
        rewritten["conversation"] = {**_object(conversation), "id": current}
    return rewritten


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _names(values: Mapping[str, Any], key: str) -> bool:
    return isinstance(values.get(key), str) and bool(values[key])
