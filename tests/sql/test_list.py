"""sql/82_list.sql: pages of a principal's responses."""

from __future__ import annotations

from typing import Any

import pytest

from pgdurable.database import queries
from pgdurable.models import ListedResponse, Status
from tests.support.engine import Conn, claim, enqueue, finish, terminal


async def page(db: Conn, **filters: Any) -> list[ListedResponse]:
    wanted: dict[str, Any] = {
        "principal": "",
        "status": None,
        "conversation_id": None,
        "metadata": None,
        "after": None,
        "limit": 20,
        "ascending": False,
    }
    return await queries.list_responses(db, **{**wanted, **filters})


async def ids(db: Conn, **filters: Any) -> list[str]:
    return [listed.response_id for listed in await page(db, **filters)]


async def test_newest_first_unless_told_otherwise(db: Conn) -> None:
    made = [await enqueue(db) for _ in range(5)]
    assert await ids(db) == made[::-1]
    assert await ids(db, ascending=True) == made


@pytest.mark.parametrize("ascending", [True, False])
async def test_pages_join_without_gap_or_repetition(db: Conn, ascending: bool) -> None:
    made = [await enqueue(db) for _ in range(7)]
    seen: list[str] = []
    while got := await ids(db, limit=3, after=seen[-1] if seen else None, ascending=ascending):
        seen += got
    assert seen == (made if ascending else made[::-1])


async def test_each_filter_and_all_of_them(db: Conn) -> None:
    a = await enqueue(db, conversation="c", metadata=b'{"k":"v","l":"w"}')
    b = await enqueue(db, conversation="c", metadata=b'{"k":"x"}')
    c = await enqueue(db, metadata=b'{"k":"v"}')
    (held, *_) = await claim(db, limit=1)
    assert held.response_id == a
    await finish(db, held)
    assert await ids(db, status=Status.COMPLETED) == [a]
    assert await ids(db, status=Status.QUEUED) == [c, b]
    assert await ids(db, conversation_id="c") == [b, a]
    assert await ids(db, metadata={"k": "v"}) == [c, a]
    assert await ids(db, metadata={"k": "v", "l": "w"}) == [a]
    assert await ids(db, metadata={"k": "v"}, conversation_id="c", status=Status.COMPLETED) == [a]
    assert await ids(db, metadata={"k": "v"}, status=Status.FAILED) == []


async def test_an_empty_metadata_filter_matches_also_what_has_none(db: Conn) -> None:
    none, some = await enqueue(db), await enqueue(db, metadata=b'{"k":"v"}')
    assert await ids(db, metadata={}) == [some, none]


async def test_a_principal_sees_its_own(db: Conn) -> None:
    await enqueue(db, principal="them")
    mine = await enqueue(db, principal="me")
    assert await ids(db, principal="me") == [mine]
    assert await ids(db) == []


async def test_a_row_has_what_a_client_wants_to_see(db: Conn) -> None:
    await enqueue(db, fields=b'{"model":"m"}')
    (held,) = await claim(db)
    (running,) = await page(db)
    assert (running.status, running.attempt, running.background) == (Status.IN_PROGRESS, 1, True)
    assert (running.fields, running.terminal) == (b'{"model":"m"}', None)
    await finish(db, held)
    (finished,) = await page(db)
    assert finished.terminal == terminal().event.body
    assert finished.created_at == held.created_at


async def test_an_after_that_is_nobodys_id_is_a_place_all_the_same(db: Conn) -> None:
    made = await enqueue(db)
    assert await ids(db, after="resp_") == []
    assert await ids(db, after="resp_", ascending=True) == [made]
    assert await ids(db, after="'; drop table x", ascending=True) == [made]
