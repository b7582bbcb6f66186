"""sql/12_enqueue_batch.sql: many at once, a line of JSON for each."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.engine import Conn, enqueue_all, new_response, value


@pytest.mark.parametrize("name", ["metadata", "request", "fields"])
async def test_a_line_too_many_goes_to_no_other_response(db: Conn, name: str) -> None:
    """Pretty-printed JSON has raw newlines."""
    lines: dict[str, Any] = {name: b'{\n"input":"hi"}'}
    new = await new_response(db, **lines)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="has 3 lines for 2 responses"):
        await enqueue_all(db, [new, await new_response(db)])
    assert await value(db, "select count(*) from pgdurable.responses") == 0
