"""The plans that Postgres really used inside our functions, as auto_explain tells them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

TURN_ON = """
load 'auto_explain';
set auto_explain.log_min_duration = 0;
set auto_explain.log_nested_statements = on;
set auto_explain.log_analyze = on;
set auto_explain.log_timing = off;
set auto_explain.log_format = json;
set auto_explain.log_level = notice;
set client_min_messages = notice;
"""


@dataclass
class Scan:
    """One visit to a table or an index; `rows` counts those it looked at, loops included."""

    relation: str
    index: str | None
    rows: float


@dataclass
class Plans:
    """What one call did."""

    statements: list[dict[str, Any]] = field(default_factory=list)

    @property
    def scans(self) -> list[Scan]:
        return [scan for plan in self.statements for scan in _scans(plan["Plan"], None)]

    @property
    def whole_tables(self) -> set[str]:
        """Those that were read from end to end, whatever for."""
        return {scan.relation for scan in self.scans if scan.index is None}

    @property
    def compiled(self) -> bool:
        """Did a plan look so expensive that it was compiled first?"""
        return any("JIT" in plan for plan in self.statements)

    def indexes(self, relation: str) -> set[str]:
        return {scan.index for scan in self.scans if scan.relation == relation and scan.index}

    def rows(self, relation: str) -> float:
        return sum(scan.rows for scan in self.scans if scan.relation == relation)


def _scans(node: dict[str, Any], heap: str | None) -> Iterator[Scan]:
    kind = node["Node Type"]
    relation = node.get("Relation Name")
    looked_at = node.get("Actual Loops", 1) * (
        node.get("Actual Rows", 0)
        + node.get("Rows Removed by Filter", 0)
        + node.get("Rows Removed by Index Recheck", 0)
    )
    if kind in ("Seq Scan", "Sample Scan"):
        yield Scan(str(relation), None, looked_at)
    elif kind in ("Index Scan", "Index Only Scan"):
        yield Scan(str(relation), node["Index Name"], looked_at)
    elif kind == "Bitmap Index Scan":
        yield Scan(str(heap), node["Index Name"], looked_at)
    if kind == "Bitmap Heap Scan":
        heap = relation
    for child in node.get("Plans", ()):
        yield from _scans(child, heap)


def explain(conn: psycopg.AsyncConnection[Any]) -> None:
    """Listen for plans on a connection that ran TURN_ON."""
    conn.add_notice_handler(lambda notice: _hear(conn, notice.message_primary or ""))


_heard: dict[int, list[dict[str, Any]]] = {}


def _hear(conn: psycopg.AsyncConnection[Any], text: str) -> None:
    _, found, plan = text.partition("plan:\n")
    if found and id(conn) in _heard:
        _heard[id(conn)].append(json.loads(plan))


@contextmanager
def watched(conn: psycopg.AsyncConnection[Any]) -> Iterator[Plans]:
    """Collects the plans of what runs inside."""
    plans = Plans()
    _heard[id(conn)] = plans.statements
    try:
        yield plans
    finally:
        del _heard[id(conn)]
