"""Whatever is called, in whatever order: the engine does what the model says.

PGDURABLE_MODEL_PROFILE=long runs for minutes; PGDURABLE_MODEL_SEED repeats a run.
"""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.database import Database
from tests.model.documented import documented, is_drawn
from tests.model.invariants import Transition
from tests.model.machine import EngineMachine

PROFILES = {
    "short": settings(max_examples=300, stateful_step_count=50),
    "long": settings(max_examples=4000, stateful_step_count=60),
}
SETTINGS = settings(
    PROFILES[os.environ.get("PGDURABLE_MODEL_PROFILE", "short")],
    database=None,  # what failed once is repeated by its seed
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def test_the_engine_does_what_the_model_says_in_any_order_of_calls(database: Database) -> None:
    number = int(os.environ.get("PGDURABLE_MODEL_SEED") or random.randrange(2**32))
    print(f"PGDURABLE_MODEL_SEED={number}")  # pytest shows it when the test fails
    exercised = set[Transition]()

    @seed(number)
    class Machine(EngineMachine):
        def __init__(self) -> None:
            super().__init__(database, exercised)

    run_state_machine_as_test(Machine, settings=SETTINGS)
    assert {edge for edge in exercised if is_drawn(edge)} <= documented()
    assert len(documented() - exercised) <= 2, "the generators reach too little"
