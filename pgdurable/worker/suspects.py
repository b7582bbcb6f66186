"""Responses that may be what kills processes, and how much company they are given.

Three losses in a row have met each of them. Until one has lived longer than its last attempt did,
or has ended, its process runs no more responses than its cap allows: the next death is in smaller
company, until the one that kills dies alone, and only that is charged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

NO_CAP = 1 << 30


class Suspects:
    """The suspects among a process's responses; `on_cleared` is called when one is cleared."""

    def __init__(self, on_cleared: Callable[[], None]) -> None:
        self._on_cleared = on_cleared
        self._caps: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def cap(self) -> int:
        """How many responses the process may run in all."""
        return min(self._caps.values(), default=NO_CAP)

    def add(self, response_id: str, cap: int, lasting: timedelta) -> None:
        """Be careful with this one for so long."""
        self.clear(response_id)
        self._caps[response_id] = cap
        loop = asyncio.get_running_loop()
        self._timers[response_id] = loop.call_later(
            lasting.total_seconds(), self.clear, response_id
        )

    def clear(self, response_id: str) -> None:
        """It has ended, or has lived long enough."""
        if self._caps.pop(response_id, None) is not None:
            self._timers.pop(response_id).cancel()
            self._on_cleared()
