"""Rows and values that travel between the rooms; all immutable."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """A response's status: OpenAI's six strings, stored verbatim."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"

    @property
    def is_terminal(self) -> bool:
        return self not in (Status.QUEUED, Status.IN_PROGRESS)


class NewEvent(NamedTuple):
    """An event on its way into the log; `item_id` is set on closed items only."""

    type: str
    item_id: str | None
    body: bytes


class Terminal(NamedTuple):
    """The last event of a log, and the status that commits together with it."""

    status: Status
    event: NewEvent


class Event(NamedTuple):
    """One stored entry of a response's log; `body` is JSON without number and response id."""

    response_id: str
    seq: int
    attempt: int
    type: str
    body: bytes
