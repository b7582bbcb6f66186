"""What attempt N+1 is told about attempts 1..N; policy only, values in and values out.

The default policy is prose: the original request with one more user message, which begins with
`[RECOVERY]` and carries what the earlier attempts had streamed, on a fresh conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pgdurable.agent.request import input_items
from pgdurable.recovery.fit import fit
from pgdurable.recovery.fold import StoredEvent, fold_events

DEFAULT_MAX_BYTES = 64 * 1024

_TEXT = """\
[RECOVERY] You were already working on this request, but the process was interrupted before you \
had finished. Below is what had been streamed until then, oldest first, as a JSON list; `attempt` \
says which try an entry belongs to. An item whose status is "completed" had been written to its \
end, one whose status is "incomplete" broke off. A tool call whose output is listed as well has \
been executed: use that output. One without its output may or may not have been executed, so \
check before you repeat it. Work out what is done and what is missing, then go on from there and \
finish the request; don't start over.

Events:
"""


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


def recovery_message(
    events: Iterable[StoredEvent], max_bytes: int = DEFAULT_MAX_BYTES
) -> dict[str, Any]:
    """Return the input item that tells the model what all earlier attempts had streamed.

    `max_bytes` bounds the UTF-8 size of its content. Over it, long strings lose their middle
    first, so that the list of what was done stays whole as long as possible; if that is not
    enough the oldest entries go. Both leave a mark.
    """
    log = fit(fold_events(events), max_bytes - len(_TEXT.encode()))
    return {"type": "message", "role": "user", "content": _TEXT + log.decode()}


def resumed_request(
    request: Mapping[str, Any],
    *,
    conversation_id: str,
    events: Sequence[StoredEvent],
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> dict[str, Any]:
    """Return the request for the next attempt: the original input, then the recovery message.

    `request` is the one the client sent, `conversation_id` the one this attempt is to use.
    """
    resumed = with_conversation(request, conversation_id)
    resumed["input"] = [*input_items(request.get("input")), recovery_message(events, max_bytes)]
    return resumed


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _names(values: Mapping[str, Any], key: str) -> bool:
    return isinstance(values.get(key), str) and bool(values[key])
