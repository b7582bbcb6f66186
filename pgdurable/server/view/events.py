"""Stored events, as a projection takes and gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SeenEvent:
    seq: int
    type: str
    body: bytes
