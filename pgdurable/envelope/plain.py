"""Values from a handler's hands, turned into private, plain JSON before anything is changed.

orjson alone is not enough: it writes NaN as null, and a handler may go on mutating what it yielded.
"""

from __future__ import annotations

import dataclasses
import math
import re
from datetime import date
from enum import Enum
from typing import Any, Final
from uuid import UUID

import orjson

from pgdurable.errors import InvalidEvent

MAX_DEPTH: Final = 64
MAX_EVENT_BYTES: Final = 1 << 20
MAX_OUTPUT_BYTES: Final = 32 << 20
"""A response's text is told four times until it has ended, in memory and in one message to
Postgres, which takes 1 GB."""
MAX_DELTA_BYTES: Final = 32 << 10
MAX_DELTA_CHARS: Final = MAX_DELTA_BYTES // 4
"""A string of at most this many characters never exceeds MAX_DELTA_BYTES in UTF-8."""

_EVENT_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}\Z")
_DUMP_OPTIONS: Final[tuple[dict[str, Any], ...]] = (
    {"mode": "json", "exclude_none": True, "warnings": False},
    {"exclude_none": True},
    {},
)


def as_event(yielded: object) -> dict[str, Any]:
    """The yielded object as a plain dict with str keys.

    Raises InvalidEvent, with the path of the offending value, for everything that is not JSON.
    """
    value = plain(yielded)
    if not isinstance(value, dict):
        raise InvalidEvent(
            f"a handler must yield strings or event objects, not {type(yielded).__name__}"
        )
    return value


def event_type(event: dict[str, Any]) -> str:
    """The event's type, checked to be storable and printable."""
    kind = event.get("type")
    if kind is None:
        keys = ", ".join(sorted(event)[:5]) or "no keys"
        raise InvalidEvent(f"event has no type (it has {keys[:200]})")
    if not isinstance(kind, str) or not _EVENT_TYPE.match(kind):
        raise InvalidEvent(f"event type {kind!r:.100} is not a valid type name")
    return kind


def encode(value: object) -> bytes:
    """Compact JSON bytes of a plain value."""
    try:
        return orjson.dumps(value)
    except TypeError as exc:
        raise InvalidEvent(f"not JSON serialisable: {exc}") from None


def split_delta(delta: str) -> list[str]:
    """The delta in pieces of at most MAX_DELTA_BYTES of UTF-8, cut between characters."""
    if len(delta) <= MAX_DELTA_CHARS:
        return [delta]
    raw = delta.encode()
    pieces: list[str] = []
    start = 0
    while start < len(raw):
        end = min(start + MAX_DELTA_BYTES, len(raw))
        while end < len(raw) and raw[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(raw[start:end].decode())
        start = end
    return pieces


def clean_text(text: object) -> str:
    """Any object's text with lone surrogates replaced: for messages that must never fail."""
    return str(text).encode("utf-8", "replace").decode()


def plain(value: object) -> Any:
    """A deep copy made of dict, list, str, int, float, bool and None only."""
    try:
        return _plain(value, 0)
    except _NotJson as exc:
        raise InvalidEvent(f"event{exc.path}: {exc.problem}") from None


class _NotJson(Exception):
    def __init__(self, problem: str) -> None:
        self.problem = problem
        self.path = ""


def _plain(value: object, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return _text(value)  # type: ignore[arg-type]
    if value is None or kind is bool:
        return value
    if kind is int or kind is float:
        return _number(value)  # type: ignore[arg-type]
    if isinstance(value, dict):
        return _object(value, depth)
    if isinstance(value, (list, tuple)):
        return _array(value, depth)
    return _converted(value, depth)


def _text(value: str) -> str:
    if len(value) > MAX_OUTPUT_BYTES:
        raise _NotJson(f"a text of more than {MAX_OUTPUT_BYTES} characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _NotJson("a lone surrogate is not text") from None
    return value


def _number(value: int | float) -> int | float:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _NotJson(f"{value} is not JSON")
    elif not -(1 << 63) <= value < 1 << 64:
        raise _NotJson("an integer of more than 64 bits")
    return value


def _object(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    if depth >= MAX_DEPTH:
        raise _NotJson(f"nested deeper than {MAX_DEPTH}")
    result: dict[str, Any] = {}
    for key, member in value.items():
        if not isinstance(key, str):
            raise _NotJson(f"a key of type {type(key).__name__}")
        name = _text(key if type(key) is str else str.__str__(key))
        try:
            result[name] = _plain(member, depth + 1)
        except _NotJson as exc:
            exc.path = f".{name[:64]}{exc.path}"[:200]
            raise
    return result


def _array(value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
    if depth >= MAX_DEPTH:
        raise _NotJson(f"nested deeper than {MAX_DEPTH}")
    result: list[Any] = []
    for position, member in enumerate(value):
        try:
            result.append(_plain(member, depth + 1))
        except _NotJson as exc:
            exc.path = f"[{position}]{exc.path}"[:200]
            raise
    return result


def _converted(value: object, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise _NotJson(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, Enum):
        return _plain(value.value, depth + 1)
    for base in (str, int, float):
        if isinstance(value, base):
            return _plain(base.__str__(value) if base is str else base(value), depth)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if callable(getattr(value, "model_dump", None)) and not isinstance(value, type):
        return _plain(_dumped(value), depth + 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return _object({f.name: getattr(value, f.name) for f in fields}, depth)
    raise _NotJson(f"{type(value).__name__} is not JSON")


def _dumped(model: Any) -> object:
    """What the model says it is; None is left out as optional fields the author never set."""
    for options in _DUMP_OPTIONS:
        try:
            return model.model_dump(**options)
        except TypeError:
            continue
        except ValueError as exc:
            raise _NotJson(f"{type(model).__name__} cannot be dumped: {exc!s:.200}") from None
    raise _NotJson(f"{type(model).__name__}.model_dump() does not work")
