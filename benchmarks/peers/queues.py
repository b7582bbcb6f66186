"""The job queues beside ours: commands, tables, and the settings that each one is best with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString

from benchmarks.peers import home, node, python_of


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue: `unfinished` is true while anything waits or runs.

    `count` is how many no-ops are drained; slower queues get fewer, which flatters no one, since
    their rate does not depend on it.
    """

    name: str
    unfinished: LiteralString
    count: int
    drain: Mapping[str, str] = field(default_factory=dict)
    pick_up: Mapping[str, str] = field(default_factory=dict)

    def argv(self, command: str, dsn: str, count: int = 0) -> list[str]:
        """The command line for setup, enqueue (ahead), send (one by one, stamped) or work."""
        arguments = [command, dsn, str(count)]
        if self.name in ("graphile", "pgboss"):
            return [node(), str(Path(__file__).parent / "queue_node.cjs"), self.name, *arguments]
        return [python_of(self.name), "-m", f"benchmarks.peers.queue_{self.name}", *arguments]

    def env(self, extra: Mapping[str, str]) -> dict[str, str]:
        return {"BENCH_NODE_HOME": str(home() / "node"), **extra}


QUEUES = (
    Queue(
        "pgqueuer",
        "select exists (select from pgqueuer)",
        20_000,
        pick_up={"MANAGERS": "5", "BATCH": "10"},
    ),
    Queue(
        "procrastinate",
        "select exists (select from procrastinate_jobs where status in ('todo', 'doing'))",
        5_000,
    ),
    Queue(
        "dbos",
        "select exists (select from dbos.workflow_status where status in ('ENQUEUED', 'PENDING'))",
        3_000,
        pick_up={"POLL": "0.05"},
    ),
    Queue(
        "absurd",
        "select exists (select from absurd.t_default"
        " where state in ('pending', 'running', 'sleeping'))",
        5_000,
        pick_up={"CONCURRENCY": "1", "POLL": "0.01"},
    ),
    Queue("graphile", "select exists (select from graphile_worker._private_jobs)", 20_000),
    Queue(
        "pgboss",
        "select exists (select from pgboss.job"
        " where name = 'nothing' and state in ('created', 'active', 'retry'))",
        20_000,
        pick_up={"BATCH": "1", "CONCURRENCY": "1"},
    ),
)
