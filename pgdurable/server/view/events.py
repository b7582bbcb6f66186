"""Stored events, as a projection takes and gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

ITEM_ADDED: Final = "response.output_item.added"
ITEM_DONE: Final = "response.output_item.done"
CREATED: Final = "response.created"
RESUMED: Final = "response.resumed"
TERMINAL: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})


@dataclass(frozen=True, slots=True)
class SeenEvent:
    seq: int
    type: str
    body: bytes
