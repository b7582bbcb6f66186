"""Any calls, in any order: each is made to the engine and to the model, which have to agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pgdurable import errors
from pgdurable.database import queries
from pgdurable.database.queries import Append, Finish
from pgdurable.models import Status
from tests.model import drawn
from tests.model.calls import (
    Held,
    Write,
    append_of,
    as_begun,
    as_claimed,
    each,
    finish_of,
    picked,
    times,
)
from tests.model.database import START, Database
from tests.model.drawn import Kind, Limits
from tests.model.invariants import Transition, check, transitions
from tests.model.model import Model, Response
from tests.model.state import State
from tests.support.engine import LEASE, claim, enqueue_all, new_response, take_over

PRUNED = timedelta(seconds=10)
MANY = 6


class EngineMachine(RuleBasedStateMachine):
    """One example: an empty database, a new model, and then whatever rules are drawn.

    What the engine did, read from the tables and not from the model, goes into `exercised`.
    """

    def __init__(self, database: Database, exercised: set[Transition]) -> None:
        super().__init__()
        self.db = database
        self.db.empty()
        self.exercised = exercised
        self.model = Model(START)
        self.before = State()
        self.called = ""
        self.held: list[Held] = []
        self.writes: list[Write] = []
        self.enqueues: list[dict[str, Any]] = []
        self.items = 0

    # What there is to choose from.

    def live(self) -> list[Held]:
        return [held for held in self.held if self.model.holds(*held)]

    def stale(self) -> list[Held]:
        """Whatever zombies still believe to hold."""
        return [held for held in self.held if not self.model.holds(*held)]

    def ended(self) -> list[Held]:
        """The last attempts of what is finished."""
        finished = [r for r in self.model.responses.values() if r.status.is_terminal]
        return [held for r in finished if (held := Held(r.response_id, r.attempt)) in self.held]

    def known(self) -> list[str]:
        return sorted({*self.model.responses, *self.model.gone})

    def repeatable(self) -> list[dict[str, Any]]:
        """Nobody repeats an enqueue after its response was deleted: its id had become known."""
        return [call for call in self.enqueues if call["response_id"] not in self.model.gone]

    def agree(self, function: str, engine: Callable[[], Any], model: Callable[[], Any]) -> None:
        """Both answer the same, or refuse for the same reason."""
        self.called = function
        answers = []
        for answer in (engine, model):
            try:
                answers.append(answer())
            except errors.DatabaseRefused as refusal:
                answers.append(type(refusal))
        assert answers[0] == answers[1], f"{function}: {answers[0]}, but the model: {answers[1]}"

    @initialize(limits=drawn.LIMITS_OF_SOME, kinds=drawn.EVENTS)
    def some_are_under_way(self, limits: list[Limits], kinds: list[Kind]) -> None:
        """So that an example gets far in its few steps: up to three turns of one conversation."""
        for limit in limits:
            self.enqueue(conversation="c", key=None, request="x", **limit)
            self.what_is_stored_is_what_the_model_says()
        self.wait_and_claim("a", len(limits), 0)
        self.what_is_stored_is_what_the_model_says()
        if limits:
            self.append(list(range(len(limits))), kinds)

    # Into the queue.

    @precondition(lambda self: len(self.model.responses) < MANY)
    @rule(
        conversation=drawn.CONVERSATIONS,
        key=drawn.KEYS,
        request=drawn.INPUTS,
        max_attempts=drawn.ATTEMPTS,
        deadline=drawn.DEADLINES,
    )
    def enqueue(self, **columns: Any) -> None:
        """As the server does."""
        columns["response_id"] = self.db.new_id()
        self.enqueues.append(columns)
        self._enqueue(columns)

    @precondition(lambda self: bool(self.repeatable()))
    @rule(pick=drawn.PICK)
    def repeat_an_enqueue(self, pick: int) -> None:
        self._enqueue(picked(self.repeatable(), pick))

    def _enqueue(self, columns: dict[str, Any]) -> None:
        def engine() -> tuple[str, str]:
            (made,) = self.db.call(enqueue_all(self.db.conn, [response], **limits))
            return made.response_id, made.outcome

        limits = {name: columns[name] for name in ("max_attempts", "deadline")}
        response = self.db.call(
            new_response(
                self.db.conn,
                response_id=columns["response_id"],
                conversation=columns["conversation"],
                key=columns["key"],
                request=orjson.dumps({"input": columns["request"]}),
            )
        )
        self.agree("enqueue_responses", engine, lambda: self.model.enqueue(**columns))

    @precondition(lambda self: len(self.model.responses) < MANY)
    @rule(conversation=drawn.CONVERSATIONS, key=drawn.KEYS, text=drawn.INPUTS)
    def enqueue_by_hand(self, conversation: str | None, key: str | None, text: str) -> None:
        """As a person does in psql; the id is the next one."""
        request = {"input": text, "conversation": conversation}
        columns = {"request": repr(request), "conversation": conversation, "key": key}
        new_id = self.db.next_id()
        self.agree(
            "enqueue_response",
            lambda: self.db.call(
                queries.enqueue_response(self.db.conn, request, agent="agent", idempotency_key=key)
            ),
            lambda: self.model.enqueue_by_hand(new_id, **columns),
        )

    @precondition(lambda self: bool(self.known()))
    @rule(pick=drawn.PICK)
    def retry(self, pick: int) -> None:
        response_id, new_id = picked(self.known(), pick), self.db.next_id()
        self.agree(
            "retry_response",
            lambda: self.db.call(
                queries.retry_response(self.db.conn, response_id=response_id, principal="")
            ),
            lambda: self.model.retry(response_id, new_id),
        )

    # Workers take responses.

    @precondition(lambda self: len(self.live()) < len(self.model.responses))
    @rule(worker=drawn.WORKERS, limit=drawn.LIMITS, seconds=drawn.SECONDS)
    def wait_and_claim(self, worker: str, limit: int, seconds: int) -> None:
        self.advance(seconds)
        self.called = "claim_responses"
        claimed = self.db.call(claim(self.db.conn, worker, limit=limit))
        expected = self.model.claim(worker, limit)
        assert [as_claimed(c) for c in claimed] == [as_begun(r) for r in expected]
        self._hand_out(expected)

    @precondition(lambda self: bool(self.live() or self.model.overdue()))
    @rule(worker=drawn.WORKERS, limit=drawn.LIMITS, seconds=drawn.SECONDS)
    def wait_and_take_over(self, worker: str, limit: int, seconds: int) -> None:
        self.advance(seconds)
        self.called = "take_over_responses"
        overdue = self.model.overdue()
        due = times(overdue)
        taken = self.db.call(take_over(self.db.conn, worker, limit=limit))
        ended = self.db.finished([r.response_id for r in overdue])
        chosen = [r for r in overdue if r.response_id in ended]
        assert times(chosen) == due[:limit]
        changed = self.model.take_over(worker, limit, ended)
        assert sorted(map(repr, map(as_claimed, taken))) == sorted(
            map(repr, map(as_begun, changed))
        )
        self._hand_out(changed)

    def _hand_out(self, responses: Sequence[Response]) -> None:
        for r in responses:
            held = Held(r.response_id, r.attempt)
            assert held not in self.held, "one attempt, two owners"
            self.held.append(held)

    # Their owners write.

    @precondition(lambda self: bool(self.live()))
    @rule(picks=drawn.PICKS, kinds=drawn.EVENTS)
    def append(self, picks: list[int], kinds: list[Kind]) -> None:
        self._write([self._append(h, kinds) for h in each(self.live(), picks)])

    @precondition(lambda self: bool(self.live()))
    @rule(picks=drawn.PICKS, kinds=drawn.EVENTS, status=drawn.ENDS)
    def finish(self, picks: list[int], kinds: list[Kind], status: Status) -> None:
        appends = [self._append(held, kinds) for held in each(self.live(), picks)]
        self._write(appends, [finish_of(append, status) for append in appends])

    @precondition(lambda self: bool(self.stale()))
    @rule(picks=drawn.PICKS, kinds=drawn.EVENTS, late=st.integers(0, 3))
    def append_as_a_zombie(self, picks: list[int], kinds: list[Kind], late: int) -> None:
        self._write([self._append(held, kinds, late) for held in each(self.stale(), picks)])

    @precondition(lambda self: bool(self.stale()))
    @rule(picks=drawn.PICKS, kinds=drawn.EVENTS, late=st.integers(0, 3), status=drawn.ENDS)
    def finish_as_a_zombie(
        self, picks: list[int], kinds: list[Kind], late: int, status: Status
    ) -> None:
        appends = [self._append(held, kinds, late) for held in each(self.stale(), picks)]
        self._write(appends, [finish_of(append, status) for append in appends])

    @precondition(lambda self: bool(self.ended()))
    @rule(pick=drawn.PICK)
    def finish_the_way_it_has_ended(self, pick: int) -> None:
        """By its last owner: a repetition, unless somebody else has ended it meanwhile."""
        held = picked(self.ended(), pick)
        append = self._append(held, [], late=1)
        self._write([append], [finish_of(append, self.model.get(held.response_id).status)])

    @precondition(lambda self: bool(self.writes))
    @rule(pick=drawn.PICK)
    def repeat_a_write(self, pick: int) -> None:
        """As after a commit whose end was unknown; any of the last dozen."""
        self._write(*picked(self.writes[::-1], pick))

    def _append(self, held: Held, kinds: Sequence[Kind], late: int = 0) -> Append:
        first_item, self.items = self.items, self.items + len(kinds)
        response = self.model.responses.get(held.response_id)
        return append_of(held, response, kinds, first_item, late)

    def _write(self, appends: Sequence[Append], finishes: Sequence[Finish] = ()) -> None:
        def engine() -> list[str]:
            answers = self.db.call(
                queries.append_and_finish(self.db.conn, appends, finishes, lease=LEASE)
            )
            return [result.outcome for results in answers for result in results]

        def model() -> list[str]:
            appended = [self.model.append(call) for call in appends]
            return appended + [self.model.finish(call) for call in finishes]

        self.agree("finish_responses" if finishes else "append_events", engine, model)
        self.writes.append(Write(appends, finishes))

    @precondition(lambda self: bool(self.held))
    @rule(picks=drawn.PICKS, worker=drawn.WORKERS, seconds=drawn.SECONDS)
    def wait_and_beat(self, picks: list[int], worker: str, seconds: int) -> None:
        """By owners and zombies alike."""
        self.advance(seconds)
        attempts = dict(each(self.live() + self.held, picks))
        self.agree(
            "heartbeat",
            lambda: {
                result.response_id: result.outcome
                for result in queries.heartbeat(
                    self.db.sync, worker_id=worker, attempts=attempts, lease=LEASE
                )
            },
            lambda: {r: self.model.heartbeat(r, attempt) for r, attempt in attempts.items()},
        )

    @precondition(lambda self: bool(self.held))
    @rule(picks=drawn.PICKS)
    def release(self, picks: list[int]) -> None:
        """By owners and zombies alike."""
        attempts = dict(each(self.live() + self.held, picks))
        self.agree(
            "release_responses",
            lambda: [
                (result.outcome, result.last_seq)
                for result in self.db.call(
                    queries.release_responses(self.db.conn, attempts=attempts)
                )
            ],
            lambda: [self.model.release(*held) for held in attempts.items()],
        )

    @precondition(lambda self: bool(self.held))
    @rule(pick=drawn.PICK)
    def fail(self, pick: int) -> None:
        """By an owner or a zombie whose events the database refuses."""
        response_id, attempt = picked(self.live() + self.held, pick)
        self.agree(
            "fail_response",
            lambda: self.db.call(
                queries.fail_response(self.db.conn, response_id=response_id, attempt=attempt)
            ),
            lambda: self.model.fail(response_id, attempt),
        )

    # People and time.

    @precondition(lambda self: bool(self.known()))
    @rule(pick=drawn.PICK)
    def cancel(self, pick: int) -> None:
        response_id = picked(self.known(), pick)
        self.agree(
            "cancel_response",
            lambda: self.db.call(
                queries.cancel_response(self.db.conn, response_id=response_id, principal="")
            ),
            lambda: self.model.cancel(response_id),
        )

    @precondition(lambda self: bool(self.known()))
    @rule(pick=drawn.PICK)
    def delete(self, pick: int) -> None:
        response_id = picked(self.known(), pick)
        self.agree(
            "delete_response",
            lambda: self.db.call(
                queries.delete_response(self.db.conn, response_id=response_id, principal="")
            ),
            lambda: self.model.delete(response_id),
        )

    @precondition(lambda self: any(r.finished_at for r in self.model.responses.values()))
    @rule()
    def prune(self) -> None:
        self.agree(
            "prune_responses",
            lambda: self.db.call(
                queries.prune_responses(self.db.conn, older_than=PRUNED, limit=1000)
            ),
            lambda: self.model.prune(PRUNED),
        )

    def advance(self, seconds: int) -> None:
        self.called = "now"
        self.db.advance(timedelta(seconds=seconds))
        self.model.now += timedelta(seconds=seconds)

    # After every step.

    @invariant()
    def what_is_stored_is_what_the_model_says(self) -> None:
        now = self.db.state()
        assert now == self.model.state()
        check(self.before, now)
        self.exercised |= transitions(self.before, now, self.called)
        self.before = now
