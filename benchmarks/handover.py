"""handover: how 1, 10, 100 and 1,000 events are handed to one fenced append, each in one commit.

Every form does the same work, on the floor's tables: bump one fenced state row, insert the rows.
Ours is newline-joined text; the others are what else psycopg offers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psycopg

from benchmarks.tools import floor
from benchmarks.tools.cluster import Cluster
from benchmarks.tools.figures import OURS, Reading
from benchmarks.tools.harness import Measure, Options, compare, options

ROWS = (1, 10, 100, 1000)
TYPE = "response.output_text.delta"
BODY = (
    '{"type":"response.output_text.delta","item_id":"msg_0123456789abcdef0123456789abcdef",'
    '"output_index":0,"content_index":0,"delta":"' + "x" * 30 + '","logprobs":[]}'
)
RESPONSE_ID = "resp_" + "0" * 32

Connection = psycopg.Connection[tuple[object, ...]]
Form = Callable[[Connection, int], None]

_OWNER = """
with owner as (
  update floor_responses as r
  set last_seq = r.last_seq + %(count)s
  where r.response_id = %(response_id)s and r.attempt = 1 and r.status = 'in_progress'
  returning r.response_id, r.attempt, r.last_seq - %(count)s as base
)
insert into floor_events (response_id, seq, attempt, type, body, created_at)
select o.response_id, o.base + e.n, o.attempt, e.type, e.body::json, now()
from owner as o,
"""
_ARRAYS = (
    _OWNER + "  unnest(%(types)s::text[], %(bodies)s::text[]) with ordinality as e (type, body, n)"
)
_JSON = (
    _OWNER
    + """  lateral (
    select j.value ->> 0 as type, j.value -> 1 as body, j.n
    from json_array_elements(%(events)s::json) with ordinality as j (value, n)
  ) as e"""
)
_STAGED = _OWNER + "  staged as e"
_ROW = "insert into floor_events values (%s, %s, 1, %s, null, %s::json, now())"
_FENCE = """
update floor_responses as r
set last_seq = r.last_seq + %s
where r.response_id = %s and r.attempt = 1 and r.status = 'in_progress'
returning r.last_seq
"""


def _named(count: int, **more: object) -> dict[str, object]:
    return {"count": count, "response_id": RESPONSE_ID, **more}


def lines(conn: Connection, count: int) -> None:
    types, bodies = "\n".join([TYPE] * count), "\n".join([BODY] * count)
    conn.execute(floor.APPEND, _named(count, types=types, bodies=bodies))


def arrays(conn: Connection, count: int) -> None:
    conn.execute(_ARRAYS, _named(count, types=[TYPE] * count, bodies=[BODY] * count))


def one_json(conn: Connection, count: int) -> None:
    events = "[" + ",".join([f'["{TYPE}",{BODY}]'] * count) + "]"
    conn.execute(_JSON, _named(count, events=events))


def copied(conn: Connection, count: int) -> None:
    """COPY cannot be fenced, so the rows go through a temporary table."""
    with conn.transaction(), conn.cursor() as cursor:
        with cursor.copy("copy staged (n, type, body) from stdin") as copy:
            for number in range(1, count + 1):
                copy.write_row((number, TYPE, BODY))
        cursor.execute(_STAGED, _named(count))
        cursor.execute("truncate staged")


def pipelined(conn: Connection, count: int) -> None:
    """One statement a row, sent without waiting for the answers."""
    with conn.transaction(), conn.cursor() as cursor:
        row = cursor.execute(_FENCE, [count, RESPONSE_ID]).fetchone()
        assert row is not None and isinstance(row[0], int)
        first = row[0] - count + 1
        cursor.executemany(
            _ROW, [(RESPONSE_ID, first + number, TYPE, BODY) for number in range(count)]
        )


FORMS: dict[str, Form] = {
    OURS: lines,
    "arrays": arrays,
    "one json": one_json,
    "copy": copied,
    "pipeline": pipelined,
}


def rates(dsn: str, form: Form, chosen: Options) -> Iterator[Reading]:
    floor.create(dsn, 1)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("create temporary table staged (n bigint, type text, body text)")
        for count in ROWS:
            form(conn, count)
            commits, started = 0, time.monotonic()
            while time.monotonic() - started < chosen.seconds / len(ROWS):
                form(conn, count)
                commits += 1
            rate = commits * count / (time.monotonic() - started)
            yield Reading(f"{count:,} rows a commit", "rows/s", rate)


def measure(form: Form) -> Measure:
    def one(cluster: Cluster, dsn: str, chosen: Options) -> Iterator[Reading]:
        return rates(dsn, form, chosen)

    return one


def main() -> None:
    compare("handover", options(__doc__), {name: measure(form) for name, form in FORMS.items()}, {})


if __name__ == "__main__":
    main()
