"""The calls that the machine makes of what it has drawn, and their answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from pgdurable.database.queries import Append, Finish
from pgdurable.models import ClaimedResponse, NewEvent, Status
from tests.model.drawn import Kind
from tests.model.model import Response
from tests.support.engine import added, delta, done, terminal

T = TypeVar("T")


class Held(NamedTuple):
    """An attempt, as it was handed to a worker."""

    response_id: str
    attempt: int


class Write(NamedTuple):
    """One flush of a writer."""

    appends: Sequence[Append]
    finishes: Sequence[Finish]


def picked(choices: Sequence[T], pick: int) -> T:
    return choices[pick % len(choices)]


def each(choices: Sequence[Held], picks: Sequence[int]) -> list[Held]:
    """Those picked, of every response one: a worker does not write twice in one call."""
    return [Held(*pair) for pair in dict(picked(choices, pick) for pick in picks).items()]


def append_of(
    held: Held, response: Response | None, kinds: Sequence[Kind], first_item: int, late: int
) -> Append:
    """Events that follow what is stored, or what was stored `late` events ago.

    An item is closed only where one is open; otherwise a delta takes its place.
    """
    to_close = list(response.open_items) if response else []
    events: list[NewEvent] = []
    for item, kind in enumerate(kinds, first_item):
        if kind == "added":
            to_close.append(f"msg_{item}")
            events.append(added(f"msg_{item}"))
        elif kind == "done" and to_close:
            events.append(done(to_close.pop(0)))
        else:
            events.append(delta())
    after = (response.last_seq if response else 4) - late
    return Append(held.response_id, held.attempt, after, events)


def finish_of(append: Append, status: Status) -> Finish:
    """The end that comes right after these events."""
    after = append.last_seq + len(append.events)
    return Finish(append.response_id, append.attempt, after, terminal(status))


def as_claimed(claimed: ClaimedResponse) -> tuple[Any, ...]:
    """What the engine answered, to compare with `as_begun`."""
    return (
        claimed.response_id,
        claimed.attempt,
        claimed.status,
        claimed.last_seq,
        claimed.event_type,
        claimed.conversation_id,
        claimed.base_conversation_id,
        claimed.resumed,
    )


def as_begun(response: Response) -> tuple[Any, ...]:
    return (
        response.response_id,
        response.attempt,
        response.status,
        response.last_seq,
        response.log[-1].type,
        response.attempts[-1].conversation,
        response.conversation,
        response.attempts[-1].resumed,
    )


def times(overdue: Sequence[Response]) -> list[datetime]:
    """The deadlines that a takeover goes by, in order."""
    return sorted([r.deadline_at for r in overdue if r.deadline_at is not None])
