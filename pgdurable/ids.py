"""Response ids; `pgdurable.new_response_id` in SQL makes the same kind."""

from __future__ import annotations

import os
import time


def new_response_id() -> str:
    """`resp_` and a UUIDv7: time-ordered, so that events can be cut off by id."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    number = milliseconds << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64
    number |= 0b10 << 62 | (random & (1 << 62) - 1)
    return f"resp_{number:032x}"
