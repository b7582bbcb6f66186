"""docs/lifecycle.md draws what the engine does: every edge, and no other.

These walks take every edge; test_model.py looks for one that nobody has thought of.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pgdurable.models import Status
from tests.model.database import Database
from tests.model.documented import documented, is_drawn
from tests.model.drawn import DEADLINE, PAST_LEASE
from tests.model.invariants import NOWHERE, Transition
from tests.model.machine import EngineMachine


class Step(NamedTuple):
    """A rule of the machine, with what is drawn elsewhere chosen here."""

    rule: str
    drawn: dict[str, Any]


def enqueue(**limits: Any) -> Step:
    columns = {"conversation": "c", "key": None, "request": "x"}
    return Step("enqueue", {**columns, "max_attempts": 3, "deadline": None, **limits})


def take_over_after(seconds: int) -> Step:
    return Step("wait_and_take_over", {"worker": "b", "limit": 1, "seconds": seconds})


BY_HAND = Step("enqueue_by_hand", {"conversation": "c", "key": None, "text": "x"})
CLAIM = Step("wait_and_claim", {"worker": "a", "limit": 1, "seconds": 0})
APPEND = Step("append", {"picks": [0], "kinds": ["added", "delta"]})
RELEASE = Step("release", {"picks": [0]})
FAIL = Step("fail", {"pick": 0})
CANCEL = Step("cancel", {"pick": 0})
RETRY = Step("retry", {"pick": 0})
DELETE = Step("delete", {"pick": 0})
LATER = Step("advance", {"seconds": PAST_LEASE})
PRUNE = Step("prune", {})
FINISHES = [
    Step("finish", {"picks": [0], "kinds": ["delta"], "status": status})
    for status in Status
    if status.is_terminal
]

# Each begins with nothing, so whatever is picked is the first response there is.
WALKS = [
    [BY_HAND, DELETE],
    [enqueue(), CANCEL],
    [enqueue(deadline=DEADLINE), take_over_after(2 * PAST_LEASE)],
    [enqueue(), CLAIM, DELETE],
    [enqueue(), CLAIM, APPEND, take_over_after(PAST_LEASE), FINISHES[0], RETRY],
    [enqueue(max_attempts=1), CLAIM, APPEND, take_over_after(PAST_LEASE)],
    [enqueue(), CLAIM, APPEND, FAIL],
    [enqueue(), CLAIM, APPEND, CANCEL, take_over_after(PAST_LEASE)],
    [enqueue(), CLAIM, APPEND, RELEASE, CLAIM, CANCEL, RELEASE],
    *[[enqueue(), CLAIM, finish, LATER, PRUNE] for finish in FINISHES],
    *[[enqueue(), CLAIM, finish, DELETE] for finish in FINISHES],
]


def walked(database: Database) -> set[Transition]:
    """What all the walks exercise; every step compared with the model, like those drawn."""
    exercised = set[Transition]()
    for walk in WALKS:
        machine = EngineMachine(database, exercised)
        for step in walk:
            getattr(machine, step.rule)(**step.drawn)
            machine.what_is_stored_is_what_the_model_says()
    return exercised


def test_the_edges_of_the_diagram_are_the_transitions_of_the_engine(database: Database) -> None:
    assert {edge for edge in walked(database) if is_drawn(edge)} == documented()


def test_a_delete_leads_to_nowhere_from_every_status(database: Database) -> None:
    deletes = {edge for edge in walked(database) if not is_drawn(edge)}
    assert deletes == {Transition(status, NOWHERE, "delete_response") for status in Status}
