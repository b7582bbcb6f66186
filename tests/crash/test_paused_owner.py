"""An owner that stands still for longer than its lease, and then goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path
from typing import Any

import aiohttp

from tests.crash.fleet import Node, Nodes
from tests.crash.invariants import Conn, Outcome, check_all
from tests.crash.recording import Recording, posted, text_of, words
from tests.support.waiting import wait_until

LEASE_SECONDS = 1.2
PAUSES = 20


async def held_by(conn: Conn, node: Node) -> dict[str, int]:
    """The responses that a process works on, with their attempts."""
    rows = await (
        await conn.execute(
            "select r.response_id, r.attempt from pgdurable.responses as r"
            " join pgdurable.workers as w on w.worker_id = r.worker_id"
            " where w.pid = %s and r.status = 'in_progress'",
            [node.pid],
        )
    ).fetchall()
    return dict(rows)


async def test_20_paused_owners_lose_their_responses_and_harm_none(
    dsn: str, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn, tmp_path: Path
) -> None:
    outcomes = await pause_owners(dsn, nodes, session, conn, tmp_path, pauses=PAUSES)
    assert sum(found.attempt > 1 for found in outcomes) >= PAUSES


async def pause_owners(
    dsn: str,
    nodes: Nodes,
    session: aiohttp.ClientSession,
    conn: Conn,
    marks: Path,
    *,
    pauses: int,
    seed: int | None = None,
) -> list[Outcome]:
    """Until so many owners of a response were paused; prints its seed, returns how all ended."""
    seed = random.randrange(1 << 32) if seed is None else seed
    print(f"seed {seed}")
    choose = random.Random(seed)
    pair = [nodes.start(dsn, marks=marks).until_ready() for _ in range(2)]
    zombies: dict[str, int] = {}
    recordings: list[Recording] = []
    outcomes: list[Outcome] = []
    while len(zombies) < pauses:
        new = await _posted_bit_by_bit(session, pair, choose)
        zombies |= await _pause(conn, choose.choice(pair), choose)
        await asyncio.gather(*new.values())
        recordings += new
        outcomes += await check_all(conn, new)

    print(f"paused: {len(zombies)} of {len(recordings)}")
    assert {text_of(found.terminal) for found in outcomes} == {words(40)}
    attempts = {r.response_id: f.attempt for r, f in zip(recordings, outcomes, strict=True)}
    assert all(attempts[zombie] == attempt + 1 for zombie, attempt in zombies.items())
    cancelled = {f"{zombie}.{attempt}.cancelled" for zombie, attempt in zombies.items()}
    await wait_until(lambda: {file.name for file in marks.iterdir()} == cancelled)
    return outcomes


async def _posted_bit_by_bit(
    session: aiohttp.ClientSession, pair: list[Node], choose: random.Random
) -> dict[Recording, asyncio.Task[Recording]]:
    """Responses that have come as far as chance will have it, each followed on either process."""
    following = {}
    for _ in range(8):
        (recording,) = await posted(session, choose.choice(pair).url, 1, "text 40 0.05")
        url = choose.choice(pair).url
        following[recording] = asyncio.create_task(recording.follow(session, url))
        await asyncio.sleep(choose.uniform(0, 0.1))
    return following


async def _pause(conn: Conn, node: Node, choose: random.Random) -> dict[str, int]:
    """Stop a process until everything it held has another owner, and a little longer."""
    node.send(signal.SIGSTOP)
    held = await held_by(conn, node)

    async def taken_over() -> Any:
        return not await held_by(conn, node)

    await wait_until(taken_over)
    await asyncio.sleep(choose.uniform(0, 0.3))
    node.send(signal.SIGCONT)
    return held
