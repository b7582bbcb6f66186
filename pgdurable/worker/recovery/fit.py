"""A list of entries -> JSON that is no longer than it may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

# Characters a string may keep, tried in turn until the whole fits.
_STRING_LIMITS = (16_384, 4_096, 1_024, 256)


def fit(entries: Sequence[dict[str, Any]], max_bytes: int) -> bytes:
    """Return `entries` as a JSON list of at most `max_bytes` bytes.

    First the middle of long strings is cut out, then the oldest entries are left out; a mark
    says so in each place. `[]` where not even a mark has room.
    """
    encoded = [orjson.dumps(entry) for entry in entries]
    for limit in _STRING_LIMITS:
        if _size(encoded) <= max_bytes:
            return _joined(encoded)
        encoded = [orjson.dumps(_shortened(entry, limit)) for entry in entries]
    return _newest(encoded, max_bytes)


def _newest(encoded: list[bytes], max_bytes: int) -> bytes:
    if _size(encoded) <= max_bytes:
        return _joined(encoded)
    room = max_bytes - _size([_left_out(len(encoded))])
    first = len(encoded)
    while first and len(encoded[first - 1]) + 1 <= room:
        first -= 1
        room -= len(encoded[first]) + 1
    if room < 0:
        return b"[]"
    return _joined([_left_out(first), *encoded[first:]])


def _left_out(count: int) -> bytes:
    return orjson.dumps({"truncated": f"{count} earlier entries are left out here"})


def _shortened(value: Any, limit: int) -> Any:
    if isinstance(value, str) and len(value) > limit:
        head = limit // 2
        tail = limit - head
        return f"{value[:head]} [... {len(value) - limit} characters cut ...] {value[-tail:]}"
    if isinstance(value, dict):
        return {key: _shortened(item, limit) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item, limit) for item in value]
    return value


def _size(encoded: list[bytes]) -> int:
    return sum(map(len, encoded)) + max(len(encoded) - 1, 0) + 2


def _joined(encoded: list[bytes]) -> bytes:
    return b"[" + b",".join(encoded) + b"]"
