"""What earlier attempts have stored, decoded once for all who read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from pgdurable.models import Event


class PreviousEvent(NamedTuple):
    """A stored event; `event` is its body as a dict."""

    seq: int
    attempt: int
    type: str
    event: dict[str, Any]


def read_previous(stored: Iterable[Event]) -> list[PreviousEvent]:
    """Decode stored events, in order."""
    return [PreviousEvent(e.seq, e.attempt, e.type, _decoded(e.type, e.body)) for e in stored]


def _decoded(type_: str, body: bytes) -> dict[str, Any]:
    """Return the event; a mere note of its type where its JSON is beyond us.

    The log accepts any JSON that Postgres does, written by hand for instance: lone surrogates,
    numbers without a float, hundreds of levels.
    """
    try:
        event = orjson.loads(body)
        if not type_.endswith(".delta"):
            orjson.dumps(event)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        event = None
    return event if isinstance(event, dict) else {"type": type_, "unreadable": True}
