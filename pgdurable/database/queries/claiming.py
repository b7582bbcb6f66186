"""What a worker asks for: work to claim, and work that a gone worker has left."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from pgdurable.database.queries.rows import Conn, array_literal, fetch, fetch_values
from pgdurable.models import ClaimedResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """The worker that claims: its id, its queues, and the agents that it has.

    After a crash the agents in `restarting` start over, unseen by readers; those in `keeping` go
    on on the same conversation; all others go on on a rotated one.
    """

    worker_id: str
    queues: list[str]
    lease: timedelta
    agents: list[str]
    restarting: list[str]
    keeping: list[str]


_CLAIM = """
select * from pgdurable.{}(
  p_worker_id  => %(worker_id)s,
  p_queues     => %(queues)s,
  p_limit      => %(limit)s::integer,
  p_lease      => %(lease)s,
  p_agents     => %(agents)s::text[],
  p_restarting => %(restarting)s::text[],
  p_keeping    => %(keeping)s::text[]{}
)
"""
_CLAIM_RESPONSES = _CLAIM.format("claim_responses", "")
_TAKE_OVER_RESPONSES = _CLAIM.format(
    "take_over_responses",
    """,
  p_running     => %(running)s::text[],
  p_stuck_after => %(stuck_after)s""",
)


def _args(claimant: Claimant) -> dict[str, object]:
    return {
        "worker_id": claimant.worker_id,
        "queues": claimant.queues,
        "lease": claimant.lease,
        "agents": claimant.agents,
        "restarting": claimant.restarting,
        "keeping": claimant.keeping,
    }


async def claim_responses(conn: Conn, claimant: Claimant, *, limit: int) -> list[ClaimedResponse]:
    """Take the lease on up to `limit` queued responses of its agents."""
    return await fetch(conn, ClaimedResponse, _CLAIM_RESPONSES, **_args(claimant), limit=limit)


async def take_over_responses(
    conn: Conn,
    claimant: Claimant,
    *,
    limit: int,
    running: Collection[str] = (),
    stuck_after: timedelta | None = None,
) -> list[ClaimedResponse]:
    """Take over up to `limit` responses of workers that are gone; those past their budget end.

    `running` are the ids that the caller runs itself; a worker that lives but stands still is
    gone after `stuck_after` (None: the lease).
    """
    return await fetch(
        conn,
        ClaimedResponse,
        _TAKE_OVER_RESPONSES,
        **_args(claimant),
        limit=limit,
        running=array_literal(running),
        stuck_after=stuck_after,
    )


async def takeover_due(
    conn: Conn, claimant: Claimant, *, running: Collection[str] = (), stuck_after: timedelta
) -> timedelta | None:
    """How long until something should be taken over; None: nothing within a second."""
    (due,) = await fetch_values(
        conn,
        """
        select pgdurable.takeover_due(
          p_worker_id   => %(worker_id)s,
          p_queues      => %(queues)s,
          p_agents      => %(agents)s::text[],
          p_running     => %(running)s::text[],
          p_stuck_after => %(stuck_after)s
        )
        """,
        worker_id=claimant.worker_id,
        queues=claimant.queues,
        agents=claimant.agents,
        running=array_literal(running),
        stuck_after=stuck_after,
    )
    return None if due is None else timedelta(seconds=due.total_seconds())


async def hold_presence(conn: Conn, *, worker_id: str, lease: timedelta) -> bool:
    """Hold the lock that says that this worker lives, on a connection of its own."""
    (is_held,) = await fetch_values(
        conn,
        "select pgdurable.hold_presence(p_worker_id => %(worker_id)s, p_lease => %(lease)s)",
        worker_id=worker_id,
        lease=lease,
    )
    return bool(is_held)
