"""Stored events -> bytes on the wire, and a client's query and headers -> a cursor; pure.

The format is docs/wire.md 3: one `data:` line per frame, comments as keep-alive, `[DONE]` at the
end.
No `id:` lines unless asked for, because openai-python takes a comment that follows one for an
empty event and fails; where they are on, comments therefore end in a single newline.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from pgdurable.errors import InvalidRequest

Cursor = int | Literal["now"]
"""The last number a reader has; -1 is nothing yet, "now" is whatever comes next."""

FROM_THE_START: Final = -1
DONE: Final = b"data: [DONE]\n\n"
KEEP_ALIVE: Final = b": keep-alive\n\n"
KEEP_ALIVE_WITH_IDS: Final = b": keep-alive\n"
HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}

_LARGEST = 2**63 - 1
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def frame(response_id: str, seq: int, body: bytes, *, event_id: bool = False) -> bytes:
    """Return the frame of one stored event.

    `body` is a JSON object with at least one key and no raw newline; number and response id are
    put in as bytes before its closing brace. `event_id` puts an `id:` line first.
    """
    return frames(response_id, ((seq, body),), event_ids=event_id)


def frames(
    response_id: str, events: Iterable[tuple[int, bytes]], *, event_ids: bool = False
) -> bytes:
    """Return the frames of many (seq, body) as one piece of bytes."""
    end = b',"response_id":"%b"}\n\n' % response_id.encode()
    if event_ids:
        return b"".join(
            [
                b'id: %d\ndata: %b,"sequence_number":%d%b' % (seq, body[:-1], seq, end)
                for seq, body in events
            ]
        )
    return b"".join(
        [b'data: %b,"sequence_number":%d%b' % (body[:-1], seq, end) for seq, body in events]
    )


def cursor(query: Mapping[str, str], headers: Mapping[str, str]) -> Cursor:
    """Return where a reader wants to go on: after `starting_after`, else after `Last-Event-ID`.

    Raises InvalidRequest for anything but `now` and integers from -1 to 2**63 - 1.
    """
    asked = query.get("starting_after")
    if asked == "now":
        return "now"
    if asked is not None:
        return _number(asked, "starting_after")
    seen = next((v for name, v in headers.items() if name.lower() == "last-event-id"), "")
    return _number(seen, "Last-Event-ID") if seen else FROM_THE_START


def boolean(query: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Return a query parameter that is true, false, 1 or 0; InvalidRequest for anything else."""
    sent = query.get(name)
    if sent is None:
        return default
    try:
        return _BOOLEANS[sent.lower()]
    except KeyError:
        raise InvalidRequest(f"'{name}' must be true or false.", param=name) from None


def _number(text: str, name: str) -> int:
    number = int(text) if _INTEGER.fullmatch(text) else _LARGEST + 1
    if not FROM_THE_START <= number <= _LARGEST:
        raise InvalidRequest(
            f"'{name}' must be the sequence number of an event, -1 for all events, or 'now'.",
            param=name,
        )
    return number
