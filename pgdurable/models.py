"""Rows and values that travel between the rooms; all immutable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple


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


TERMINAL_TYPES: Final[Mapping[Status, str]] = {
    Status.COMPLETED: "response.completed",
    Status.FAILED: "response.failed",
    Status.INCOMPLETE: "response.incomplete",
    Status.CANCELLED: "response.incomplete",
}
"""The event that ends a response with each status: no client knows a cancelled one."""


class WithStatus:
    """A row whose status, text in Postgres, is a Status here."""

    __slots__ = ()
    status: Status

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))


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
    """One stored event of a response's log; `body` is JSON without number and response id."""

    response_id: str
    seq: int
    attempt: int
    type: str
    body: bytes


class EnqueuedResponse(NamedTuple):
    """What enqueue made of one request: `created`, `existing` or `conflict`."""

    response_id: str
    outcome: str
    event: bytes | None


@dataclass(frozen=True, slots=True)
class ClaimedResponse(WithStatus):
    """A response that this worker now owns.

    `last_seq` is the number of `event`, which the claim or takeover wrote; an attempt that is
    `restarted` has none, and goes on behind that number. `created_at` is in seconds since 1970;
    `conversation_id` is the current one, `base_conversation_id` the client's. For `suspect_for`
    its worker runs no more than `suspect_cap` responses in all: it may be what kills processes.
    """

    response_id: str
    attempt: int
    status: Status
    last_seq: int
    event_type: str | None
    event: bytes | None
    principal: str
    created_at: int
    conversation_id: str | None
    base_conversation_id: str | None
    request: bytes
    fields: bytes
    background: bool
    resumed: bool
    restarted: bool
    deadline_at: datetime | None
    suspect_cap: int | None
    suspect_for: timedelta | None


class WriteResult(NamedTuple):
    """The answer to an append, finish or release: `ok`, `cancel` or `lost`."""

    response_id: str
    outcome: str
    last_seq: int | None


class LeaseResult(NamedTuple):
    """The answer to a heartbeat: `ok`, `cancel`, `lost` or `busy`."""

    response_id: str
    attempt: int
    outcome: str


@dataclass(frozen=True, slots=True)
class ResponseSnapshot(WithStatus):
    """A response as one query saw it; `items` are the closed ones so far, until it is terminal."""

    response_id: str
    principal: str
    status: Status
    attempt: int
    last_seq: int
    background: bool
    store: bool
    created_at: int
    conversation_id: str | None
    fields: bytes
    terminal: bytes | None
    items: list[bytes] | None


@dataclass(frozen=True, slots=True)
class StoredItem:
    """A closed item, as the event that closed it."""

    item_id: str
    response_id: str
    event: bytes


@dataclass(frozen=True, slots=True)
class ChainLink(WithStatus):
    """One response of a `previous_response_id` chain; `terminal` is its last event, if any."""

    response_id: str
    status: Status
    request: bytes
    terminal: bytes | None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation: where it is now, how it got there, and what runs in it."""

    base_conversation_id: str
    current_conversation_id: str
    active_response_id: str | None
    latest_response_id: str
    rotations: bytes


@dataclass(frozen=True, slots=True)
class ListedResponse(WithStatus):
    """One row of a page of responses."""

    response_id: str
    status: Status
    attempt: int
    background: bool
    created_at: int
    fields: bytes
    terminal: bytes | None
