"""What holds after every call, whatever the model says; and which transitions a call made."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from tests.model.state import Attempt, Row, State
from tests.support.engine import Logged

TERMINAL_TYPES = {"response.completed", "response.failed", "response.incomplete"}
OPENINGS = {"response.in_progress", "response.resumed"}
NOWHERE = "[*]"


class Transition(NamedTuple):
    """An edge of the diagram: a status, or NOWHERE, to the next, by a SQL function."""

    before: str
    after: str
    function: str


def check(before: State, now: State) -> None:
    """Every invariant, on what is stored and on how it got there."""
    assert now.logs.keys() == now.rows.keys(), "a log without its response, or the reverse"
    assert now.attempts.keys() <= now.rows.keys()
    for response_id, row in now.rows.items():
        log, attempts = now.logs[response_id], now.attempts.get(response_id, [])
        _the_log_is_gapless(row, log)
        _the_end_is_the_last_event(row, log)
        _attempts_follow_each_other(row, log, attempts)
        _leased_exactly_while_in_progress(row, attempts)
        if response_id in before.rows and before.rows[response_id].status.is_terminal:
            assert (row, log) == (before.rows[response_id], before.logs[response_id])
            assert attempts == before.attempts.get(response_id, [])
        else:
            assert log[: len(before.logs.get(response_id, []))] == before.logs.get(response_id, [])
    _aliases_follow_the_newest_resumed_attempt(before, now)


def _the_log_is_gapless(row: Row, log: list[Logged]) -> None:
    assert [event.seq for event in log] == list(range(row.last_seq + 1))


def _the_end_is_the_last_event(row: Row, log: list[Logged]) -> None:
    ends = [event.seq for event in log if event.type in TERMINAL_TYPES]
    assert ends == ([row.last_seq] if row.status.is_terminal else [])
    assert (row.finished_at is not None) == row.status.is_terminal


def _attempts_follow_each_other(row: Row, log: list[Logged], attempts: list[Attempt]) -> None:
    assert [attempt.number for attempt in attempts] == list(range(1, row.attempt + 1))
    assert all(one.attempt <= other.attempt for one, other in pairwise(log)), "a zombie has written"
    openings = [(event.attempt, event.type) for event in log if event.type in OPENINGS]
    assert openings == [
        (a.number, "response.resumed" if a.resumed else "response.in_progress") for a in attempts
    ]
    firsts = {event.attempt: event.type for event in reversed(log) if event.attempt > 0}
    assert set(firsts) <= {0, *range(1, row.attempt + 1)}
    assert set(firsts.values()) <= OPENINGS, "an event of an attempt before its opening"
    alone = [a for a in attempts if a.outcome == "lost" and a.company == 0]
    assert row.failed_attempts >= len(alone), "one that had been given up may have gone on"
    assert row.failed_attempts <= row.max_attempts


def _leased_exactly_while_in_progress(row: Row, attempts: list[Attempt]) -> None:
    running = row.status == "in_progress"
    assert (row.lease_expires_at is not None) == (row.worker is not None) == running
    *past, last = [a.outcome for a in attempts] or [""]
    assert None not in past
    # What waits for its turn after its worker has gone is in progress, its attempt over.
    assert last in (None, "lost", "stalled") if running else last is not None
    assert not (row.status == "queued" and row.cancel_requested), "cancelled, and to be claimed"


def _aliases_follow_the_newest_resumed_attempt(before: State, now: State) -> None:
    """Rotated with the attempt, and only then; gone with the last response of the conversation."""
    expected = dict(before.aliases)
    for response_id in sorted(now.rows):
        base = now.rows[response_id].conversation
        for attempt in now.attempts.get(response_id, [])[
            len(before.attempts.get(response_id, [])) :
        ]:
            if attempt.resumed and base is not None:
                expected[base] = attempt.conversation
    there = {row.conversation for row in now.rows.values()}
    assert now.aliases == {base: to for base, to in expected.items() if base in there}


def transitions(before: State, now: State, function: str) -> set[Transition]:
    """What one call of this function did: a change of status, or a new attempt."""
    found = set()
    for response_id in before.rows.keys() | now.rows.keys():
        old, new = before.rows.get(response_id), now.rows.get(response_id)
        if (old and (old.status, old.attempt)) != (new and (new.status, new.attempt)):
            found.add(
                Transition(
                    str(old.status) if old else NOWHERE,
                    str(new.status) if new else NOWHERE,
                    function,
                )
            )
    return found
