"""What is stored, in a form that the model can be compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg.rows import TupleRow

from pgdurable.models import Status
from tests.support.engine import Logged


class Row(NamedTuple):
    """A row of `responses`: what the state machine is about."""

    status: Status
    attempt: int
    failed_attempts: int
    max_attempts: int
    last_seq: int
    worker: str | None
    lease_expires_at: datetime | None
    available_at: datetime
    finished_at: datetime | None
    cancel_requested: bool
    conversation: str | None


class Attempt(NamedTuple):
    """A row of `attempts`."""

    number: int
    worker: str
    reason: str
    resumed: bool
    conversation: str
    outcome: str | None
    company: int | None = None


@dataclass
class State:
    """Everything there is, by response id; aliases by base id, keys by key."""

    rows: dict[str, Row] = field(default_factory=dict)
    logs: dict[str, list[Logged]] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)


def read_state(conn: psycopg.Connection[TupleRow]) -> State:
    state = State()
    for response_id, status, *rest in conn.execute(
        "select r.response_id, r.status, r.attempt, r.failed_attempts, r.max_attempts, r.last_seq,"
        " r.worker_id, r.lease_expires_at, r.available_at, r.finished_at,"
        " r.cancel_requested_at is not null, r.conversation_id from pgdurable.responses as r"
    ):
        state.rows[response_id] = Row(Status(status), *rest)
    for response_id, *rest in conn.execute(
        "select e.response_id, e.seq, e.attempt, e.type from pgdurable.events as e"
        " order by e.response_id, e.seq"
    ):
        state.logs.setdefault(response_id, []).append(Logged(*rest))
    for response_id, *rest in conn.execute(
        "select a.response_id, a.attempt, a.worker_id, a.reason, a.resumed, a.conversation_id,"
        " a.outcome, a.company from pgdurable.attempts as a order by a.response_id, a.attempt"
    ):
        state.attempts.setdefault(response_id, []).append(Attempt(*rest))
    state.aliases = dict(
        conn.execute(
            "select a.base_conversation_id, a.current_conversation_id"
            " from pgdurable.conversation_aliases as a"
        ).fetchall()
    )
    state.keys = dict(
        conn.execute("select k.key, k.response_id from pgdurable.idempotency_keys as k").fetchall()
    )
    return state
