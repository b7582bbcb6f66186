"""What attempt N+1 is told about attempts 1..N; policy only, values in and values out.

The default policy is prose: the original request with one more user message, which begins with
`[RECOVERY]` and carries what the earlier attempts had streamed, on a fresh conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pgdurable.agent.request import RecoveryNote, input_items
from pgdurable.envelope.previous import PreviousEvent
from pgdurable.requests.anchor import with_conversation
from pgdurable.worker.recovery.fit import fit
from pgdurable.worker.recovery.fold import fold_events

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

_SESSION_TEXT = """\
[RECOVERY] The process was interrupted while you were working on the last request of this \
conversation. What you had done until then is in the conversation. A tool call without its output \
may or may not have been executed, so check before you repeat it. Go on from there and finish the \
request; don't start over."""


def recovery_message(
    events: Iterable[PreviousEvent], max_bytes: int = DEFAULT_MAX_BYTES
) -> dict[str, Any]:
    """Return the input item that tells the model what all earlier attempts had streamed.

    `max_bytes` bounds the UTF-8 size of its content. Over it, long strings lose their middle
    first, so that the list of what was done stays whole as long as possible; if that is not
    enough the oldest entries go. Both leave a mark.
    """
    log = fit(fold_events(events), max_bytes - len(_TEXT.encode()))
    return RecoveryNote({"type": "message", "role": "user", "content": _TEXT + log.decode()})


def session_request(request: Mapping[str, Any], *, conversation_id: str) -> dict[str, Any]:
    """Return the request for the next attempt of an agent whose own session has the rest: one note.

    Everything but the input is the client's; `conversation_id` is the one that the lost attempt
    had.
    """
    note = RecoveryNote({"type": "message", "role": "user", "content": _SESSION_TEXT})
    return {**with_conversation(request, conversation_id), "input": [note]}


def resumed_request(
    request: Mapping[str, Any],
    *,
    conversation_id: str,
    events: Sequence[PreviousEvent],
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> dict[str, Any]:
    """Return the request for the next attempt: the original input, then the recovery message.

    `request` is the one the client sent, `conversation_id` the one this attempt is to use.
    """
    resumed = with_conversation(request, conversation_id)
    resumed["input"] = [*input_items(request.get("input")), recovery_message(events, max_bytes)]
    return resumed
