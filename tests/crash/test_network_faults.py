"""The network between a process and Postgres: cut at the worst moment, silent, or deaf."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from tests.crash.fleet import Nodes
from tests.crash.invariants import Conn, check_all, outcome
from tests.crash.postgres import Postgres
from tests.crash.proxy import Proxy
from tests.crash.recording import Recording, post, text_of, words
from tests.support.processes import Process
from tests.support.waiting import wait_until

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
FLUSH = "pgdurable.append_events"
ENOUGH = 5  # words


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    """Between the processes and that server."""
    with Proxy(postgres.socket).running() as running:
        yield running


@pytest.fixture
async def conn(postgres: Postgres) -> AsyncIterator[Conn]:
    """Past the proxy."""
    async with await psycopg.AsyncConnection.connect(postgres.dsn, autocommit=True) as connection:
        yield connection


async def answered(session: aiohttp.ClientSession, url: str, says: str) -> Recording:
    """A response, followed to its end."""
    recording = Recording(await post(session, url, says))
    return await recording.follow(session, url)


@pytest.mark.parametrize("fault", ["lose_answer", "lose_statement"])
async def test_a_flush_whose_end_is_unknown_is_written_once_whichever_it_is(
    proxy: Proxy, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn, fault: str
) -> None:
    url = nodes.start(proxy.dsn).url
    recordings = []
    for k in range(1, 100):
        getattr(proxy, fault)(FLUSH, k)
        recordings.append(await answered(session, url, f"text {ENOUGH} 0.03"))
        if proxy.cuts == 0:  # it had fewer flushes than that
            break

    assert len(recordings) > 5
    outcomes = await check_all(conn, recordings)
    assert {text_of(found.terminal) for found in outcomes} == {words(ENOUGH)}
    assert {found.attempt for found in outcomes} == {1}


async def test_a_post_whose_commit_has_an_unknown_end_makes_one_response(
    proxy: Proxy, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    url = nodes.start(proxy.dsn).url
    before = await _count(conn)
    proxy.lose_answer("pgdurable.enqueue_responses", 1)
    recording = await answered(session, url, "text 2 0")

    assert proxy.cuts == 1
    await check_all(conn, [recording])
    assert await _count(conn) == before + 1


async def _count(conn: Conn) -> int:
    row = await (await conn.execute("select count(*) from pgdurable.responses")).fetchone()
    return int(row[0]) if row else 0


@pytest.mark.parametrize("statement", ["pgdurable.claim_responses", "pgdurable.heartbeat"])
async def test_what_a_lost_answer_has_leased_is_finished_all_the_same(
    proxy: Proxy, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn, statement: str
) -> None:
    url = nodes.start(proxy.dsn).url
    proxy.lose_answer(statement, 1)
    recording = await answered(session, url, "text 20 0.03")

    await wait_until(lambda: proxy.cuts == 1)
    (found,) = await check_all(conn, [recording])
    assert text_of(found.terminal) == words(20)


async def test_a_listener_that_has_gone_deaf_delays_readers_and_is_replaced(
    proxy: Proxy, postgres: Postgres, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    reader = nodes.start(proxy.dsn, "--no-worker", check_seconds=1.0)
    nodes.start(postgres.dsn, "--no-server").until_ready()
    url = reader.url
    reader.wait_for("listener_connected")
    proxy.freeze("pgdurable listener")
    proxy.thaw_new()

    recording = await answered(session, url, "text 20 0.05")

    await check_all(conn, [recording])
    reader.wait_for("listener_lost")
    await wait_until(lambda: reader.output().count("listener_connected") == 2)


async def test_a_connection_that_is_silent_is_given_up_and_everything_goes_on(
    proxy: Proxy, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    node = nodes.start(proxy.dsn, answer_seconds=1.0)
    url = node.url
    recording = Recording(await post(session, url, "text 60 0.05"))
    following = asyncio.create_task(recording.follow(session, url))
    await wait_until(lambda: len(recording.frames) > 5)
    proxy.freeze()
    proxy.thaw_new()
    await following

    (found,) = await check_all(conn, [recording])
    assert text_of(found.terminal) == words(60)
    assert "flush_retried" in node.output()


async def test_everything_works_where_no_notification_ever_arrives(
    proxy: Proxy, nodes: Nodes, session: aiohttp.ClientSession, conn: Conn
) -> None:
    proxy.is_deaf = True
    pair = [nodes.start(proxy.dsn, check_seconds=0.2) for _ in range(2)]
    await _work_without_notifications(session, [node.url for node in pair], conn)
    assert not any("listener_connected" in node.output() for node in pair)


@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed (apt: pgbouncer)")
async def test_everything_works_behind_a_transaction_pooler(
    postgres: Postgres,
    nodes: Nodes,
    session: aiohttp.ClientSession,
    conn: Conn,
    tmp_path: Path,
    unused_tcp_port: int,
) -> None:
    with _pooler(postgres, tmp_path, unused_tcp_port) as pooler:
        pooler.wait_for("process up")
        dsn = f"postgresql://postgres@127.0.0.1:{unused_tcp_port}/pgdurable?sslmode=disable"
        pair = [nodes.start(dsn, check_seconds=0.2) for _ in range(2)]
        await _work_without_notifications(session, [node.url for node in pair], conn)
        assert not any("listener_connected" in node.output() for node in pair)


def _pooler(postgres: Postgres, folder: Path, port: int) -> Process:
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\npgdurable = host={Path(postgres.socket).parent} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\nignore_startup_parameters = extra_float_digits\n"
    )
    folder.chmod(0o755)
    as_whom = ["-u", "postgres"] if os.geteuid() == 0 else []
    assert PGBOUNCER is not None
    return Process(PGBOUNCER, *as_whom, str(settings))


async def _work_without_notifications(
    session: aiohttp.ClientSession, urls: list[str], conn: Conn
) -> None:
    """POST on one process, read on the other, cancel on either."""
    recording = Recording(await post(session, urls[0], "text 10 0.02"))
    await recording.follow(session, urls[1])
    (found,) = await check_all(conn, [recording])
    assert found.status == "completed"

    for n in range(2):
        endless = await post(session, urls[n], "text 10000 0.02")

        await wait_until(functools.partial(_has_begun, conn, endless))
        async with session.post(f"{urls[1 - n]}/responses/{endless}/cancel") as cancelled:
            assert (await cancelled.json())["status"] == "cancelled"


async def _has_begun(conn: Conn, response_id: str) -> Any:
    return (await outcome(conn, response_id)).last_seq > 5


@pytest.mark.parametrize("fault", ["stopped", "silent"])
async def test_a_process_ends_in_time_although_postgres_is_away(
    postgres: Postgres,
    proxy: Proxy,
    nodes: Nodes,
    session: aiohttp.ClientSession,
    fault: str,
) -> None:
    node = nodes.start(proxy.dsn)
    url = node.url
    recording = Recording(await post(session, url, "text 1000 0.05"))
    following = asyncio.create_task(recording.follow(session, url))
    await wait_until(lambda: len(recording.frames) > 5)
    following.cancel()
    if fault == "stopped":
        postgres.stop()
    else:
        proxy.freeze()
    asked_at = time.monotonic()
    node.send(signal.SIGTERM)
    try:
        status = await asyncio.to_thread(node.wait)
    finally:
        if fault == "stopped":
            postgres.start()

    assert status == 0, node.output()
    assert time.monotonic() - asked_at < 15
