"""The engine in short: what every call does and answers, on dataclasses and one clock."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from pgdurable.database.queries import Append, Finish
from pgdurable.errors import (
    AlreadyFinished,
    IdempotencyConflict,
    LeaseLost,
    NotFinished,
    ResponseNotFound,
)
from pgdurable.models import NewEvent, Status
from tests.model.state import Attempt, Row, State
from tests.support.engine import LEASE, TERMINAL_TYPE, Logged

ADDED, DONE = "response.output_item.added", "response.output_item.done"
OPENINGS = ("response.in_progress", "response.resumed")


NO_CAP = 1 << 31


@dataclass
class Response:
    """One response. Its attempts and its log are lists, so their numbers cannot have gaps."""

    response_id: str
    conversation: str | None
    max_attempts: int
    available_at: datetime
    deadline: timedelta | None
    deadline_at: datetime | None
    status: Status = Status.QUEUED
    failed_attempts: int = 0
    cancel_requested: bool = False
    worker: str | None = None
    lease_expires_at: datetime | None = None
    finished_at: datetime | None = None
    attempts: list[Attempt] = field(default_factory=list)
    log: list[Logged] = field(default_factory=lambda: [Logged(0, 0, "response.created")])
    open_items: list[str] = field(default_factory=list)
    began_at: datetime | None = None
    given_up_at: datetime | None = None

    @property
    def attempt(self) -> int:
        return len(self.attempts)

    @property
    def last_seq(self) -> int:
        return len(self.log) - 1

    @property
    def base(self) -> str:
        return self.conversation or self.response_id

    @property
    def has_progress(self) -> bool:
        return any(event.attempt and event.type not in OPENINGS for event in self.log)

    def row(self) -> Row:
        return Row(
            self.status,
            self.attempt,
            self.failed_attempts,
            self.max_attempts,
            self.last_seq,
            self.worker,
            self.lease_expires_at,
            self.available_at,
            self.finished_at,
            self.cancel_requested,
            self.conversation,
        )

    def overdue(self, now: datetime) -> bool:
        return self.deadline_at is not None and self.deadline_at <= now

    def write(self, *types: str) -> None:
        for kind in types:
            self.log.append(Logged(len(self.log), self.attempt, kind))

    def add(self, event: NewEvent) -> None:
        self.write(event.type)
        if event.type == ADDED:
            self.open_items.append(orjson.loads(event.body)["item"]["id"])
        elif event.type == DONE:
            self.open_items.remove(event.item_id or "")

    def stop(self, outcome: str) -> None:
        """The current attempt is over, by its own word."""
        self.worker = self.lease_expires_at = None
        self.attempts[-1] = self.attempts[-1]._replace(outcome=outcome, company=None)

    def give_up(self, outcome: str, company: int, now: datetime) -> None:
        """The current attempt is over, because its worker is gone."""
        if self.attempts[-1].outcome is None:
            self.attempts[-1] = self.attempts[-1]._replace(outcome=outcome, company=company)
            self.failed_attempts += outcome == "lost" and company == 0
            self.given_up_at = now

    @property
    def stalls(self) -> int:
        return [attempt.outcome for attempt in self.attempts[:-1]].count("stalled")

    @property
    def cap(self) -> int:
        """How many responses a worker may run that takes this one over."""
        met = [a.company for a in self.attempts[-3:] if a.company is not None]
        return NO_CAP if len(met) < 3 else max(1, (met[-1] + 1) // 2)

    def end(self, status: Status, now: datetime) -> None:
        self.worker = self.lease_expires_at = None
        self.status, self.finished_at = status, now

    def end_without_handler(self, status: Status, now: datetime) -> None:
        self.write(*[DONE for _ in self.open_items])
        if status is Status.FAILED:
            self.write("error")
        self.write(TERMINAL_TYPE[status])
        self.end(status, now)


def _turn(r: Response) -> tuple[int, float, str]:
    if r.cap == NO_CAP or r.began_at is None:
        return 0, 0.0, r.response_id
    return r.cap, -r.began_at.timestamp(), r.response_id


class Model:
    """All responses, conversations and idempotency keys of one principal."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.responses: dict[str, Response] = {}
        self.aliases: dict[str, str] = {}
        self.keys: dict[str, tuple[str, str]] = {}
        self.gone: set[str] = set()

    def state(self) -> State:
        return State(
            rows={r.response_id: r.row() for r in self.responses.values()},
            logs={r.response_id: r.log for r in self.responses.values()},
            attempts={r.response_id: r.attempts for r in self.responses.values() if r.attempts},
            aliases=self.aliases,
            keys={key: response_id for key, (_, response_id) in self.keys.items()},
        )

    def get(self, response_id: str) -> Response:
        if response_id not in self.responses:
            raise ResponseNotFound
        return self.responses[response_id]

    def holds(self, response_id: str, attempt: int) -> Response | None:
        """The response, if this attempt of it is the one that runs."""
        response = self.responses.get(response_id)
        running = response is not None and response.status is Status.IN_PROGRESS
        return response if response and running and response.attempt == attempt else None

    # Into the queue.

    def enqueue(
        self,
        response_id: str,
        *,
        request: str = "",
        conversation: str | None = None,
        key: str | None = None,
        max_attempts: int = 3,
        deadline: timedelta | None = None,
    ) -> tuple[str, str]:
        """The id of the response that answers this request, and the outcome."""
        if key is not None:
            first, owner = self.keys.setdefault(key, (request, response_id))
            if owner != response_id:
                return owner, "existing" if first == request else "conflict"
        if response_id not in self.responses:
            deadline_at = self.now + deadline if deadline else None
            self.responses[response_id] = Response(
                response_id, conversation, max_attempts, self.now, deadline, deadline_at
            )
        return response_id, "created"

    def enqueue_by_hand(self, response_id: str, **columns: Any) -> str:
        owner, outcome = self.enqueue(response_id, **columns)
        if outcome == "conflict":
            raise IdempotencyConflict
        return owner

    def retry(self, response_id: str, new_id: str) -> str:
        r = self.get(response_id)
        if not r.status.is_terminal:
            raise NotFinished
        self.enqueue(
            new_id,
            conversation=r.conversation,
            max_attempts=r.max_attempts,
            deadline=r.deadline,
        )
        return new_id

    # Workers take responses.

    def claim(self, worker: str, limit: int) -> list[Response]:
        due = [
            r
            for r in self.responses.values()
            if r.status is Status.QUEUED and not r.overdue(self.now)
        ]
        due.sort(key=lambda r: (r.available_at, r.response_id))
        self._begin(due[:limit], worker, "claim")
        return due[:limit]

    def _begin(self, begun: Sequence[Response], worker: str, reason: str) -> None:
        """All of one call see the aliases as they were before it."""
        rotated: dict[str, str] = {}
        for r in sorted(begun, key=lambda r: r.response_id):
            resumed, number = r.has_progress, r.attempt + 1
            current = self.aliases.get(r.conversation or "", r.base)
            if resumed:
                current = f"{r.base}::r-{r.response_id[-8:]}-{number}"
            if resumed and r.conversation is not None:
                rotated[r.conversation] = current
            why = "release" if resumed and reason == "claim" else reason
            r.attempts.append(Attempt(number, worker, why, resumed, current, None))
            r.status, r.worker, r.lease_expires_at = Status.IN_PROGRESS, worker, self.now + LEASE
            r.began_at = self.now
            r.write("response.resumed" if resumed else "response.in_progress")
        self.aliases.update(rotated)

    def takeable(self) -> dict[str, str]:
        """What may be taken over now, and how its attempt has ended: nobody has a presence here."""
        running = [r for r in self.responses.values() if r.lease_expires_at is not None]
        last: dict[str | None, datetime] = {}
        for r in running:
            assert r.lease_expires_at is not None
            last[r.worker] = max(last.get(r.worker, r.lease_expires_at), r.lease_expires_at)
        found: dict[str, str] = {}
        for r in running:
            assert r.lease_expires_at is not None
            late = self.now - r.lease_expires_at
            if (marked := r.attempts[-1].outcome) is not None and late >= timedelta():
                found[r.response_id] = marked
            elif last[r.worker] <= self.now:
                found[r.response_id] = "lost"
            elif late >= timedelta() and late >= LEASE * (2**r.stalls - 1):
                found[r.response_id] = "stalled"
        return found

    def overdue(self) -> list[Response]:
        return [
            r for r in self.responses.values() if r.status is Status.QUEUED and r.overdue(self.now)
        ]

    def take_over(self, worker: str, limit: int, overdue: Collection[str]) -> list[Response]:
        """`overdue` are those of `overdue()` that the engine has chosen."""
        gone = self.takeable()
        workers = [self.responses[response_id].worker for response_id in gone]
        for response_id, outcome in gone.items():
            r = self.responses[response_id]
            r.give_up(outcome, workers.count(r.worker) - 1, self.now)
        for r in self.overdue():
            if r.response_id in overdue:
                r.end_without_handler(Status.FAILED, self.now)
        for response_id in gone:
            r = self.responses[response_id]
            if r.cancel_requested:
                r.end_without_handler(Status.CANCELLED, self.now)
            elif r.overdue(self.now) or r.failed_attempts >= r.max_attempts:
                r.end_without_handler(Status.FAILED, self.now)
        left = [self.responses[response_id] for response_id in gone]
        taken = self._turns([r for r in left if not r.status.is_terminal], limit)
        self._begin(taken, worker, "takeover")
        return taken

    def _turns(self, waiting: Sequence[Response], limit: int) -> list[Response]:
        """The caller runs nothing: first who is no suspect, then the narrowest company."""
        taken: list[Response] = []
        cap = NO_CAP
        for r in sorted(waiting, key=_turn):
            assert r.given_up_at is not None
            waited = r.cap < NO_CAP and r.given_up_at < self.now - LEASE * 10
            if len(taken) < limit and (waited or len(taken) < min(cap, r.cap)):
                taken.append(r)
                cap = min(cap, r.cap)
        return taken

    # Their owners write.

    def heartbeat(self, response_id: str, attempt: int) -> str:
        if r := self.holds(response_id, attempt):
            r.lease_expires_at = self.now + LEASE
            return "cancel" if r.cancel_requested else "ok"
        return "lost"

    def append(self, call: Append) -> str:
        r = self.holds(call.response_id, call.attempt)
        if r is None or r.last_seq not in (call.last_seq, call.last_seq + len(call.events)):
            return "lost"
        # Another last_seq is a repetition, and done already; without events there is only a lock.
        if call.events and r.last_seq == call.last_seq:
            r.lease_expires_at = self.now + LEASE
            for event in call.events:
                r.add(event)
        return "cancel" if r.cancel_requested else "ok"

    def finish(self, call: Finish) -> str:
        """A repetition is answered ok; another's end is not, however alike the two are."""
        status = call.terminal.status
        if r := self.holds(call.response_id, call.attempt):
            if r.last_seq != call.last_seq:
                return "lost"
            r.write(call.terminal.event.type)
            r.stop(status)
            r.end(status, self.now)
            return "ok"
        past = self.responses.get(call.response_id)
        if past is None or past.attempt != call.attempt or past.last_seq != call.last_seq + 1:
            return "lost"
        return "ok" if past.attempts[-1].outcome == status else "lost"

    def release(self, response_id: str, attempt: int) -> tuple[str, int | None]:
        r = self.holds(response_id, attempt)
        if r is None:
            return "lost", None
        last_seq = r.last_seq
        r.stop("released")
        r.status, r.available_at = Status.QUEUED, self.now
        if r.cancel_requested:
            r.end_without_handler(Status.CANCELLED, self.now)
        return "ok", last_seq

    def fail(self, response_id: str, attempt: int) -> None:
        r = self.holds(response_id, attempt)
        if r is None:
            raise LeaseLost
        r.stop("failed")
        r.end_without_handler(Status.FAILED, self.now)

    # People.

    def cancel(self, response_id: str) -> Status:
        r = self.get(response_id)
        if r.status.is_terminal:
            raise AlreadyFinished
        if r.status is Status.QUEUED:
            r.end_without_handler(Status.CANCELLED, self.now)
        else:
            r.cancel_requested = True
        return r.status

    def delete(self, response_id: str) -> None:
        r = self.get(response_id)
        del self.responses[response_id]
        self.gone.add(response_id)
        self.keys = {k: (q, owner) for k, (q, owner) in self.keys.items() if owner != response_id}
        if not any(other.conversation == r.conversation for other in self.responses.values()):
            self.aliases.pop(r.conversation or "", None)

    def prune(self, older_than: timedelta) -> int:
        old = [
            r.response_id
            for r in self.responses.values()
            if r.finished_at is not None and r.finished_at < self.now - older_than
        ]
        for response_id in old:
            self.delete(response_id)
        return len(old)
