"""Many readers of one response, joining, leaving and coming back as they like."""

from __future__ import annotations

import asyncio
import random

import aiohttp
import pytest

from tests.clients.serving import Server

READERS = 50
KEEP_ALIVE = b": keep-alive\n\n"


async def read(http: aiohttp.ClientSession, url: str, seed: int) -> bytes:
    """The whole stream, put together from as many connections as this reader needed."""
    chance = random.Random(seed)
    whole = b""
    while not whole.endswith(b"data: [DONE]\n\n"):
        frames = [frame for frame in whole.split(b"\n\n") if frame]
        query = {"stream": "true"}
        if frames:
            query["starting_after"] = str(len(frames) - 1)
        async with http.get(url, params=query) as answer:
            assert answer.status == 200
            patience = chance.choice((3, 11, 1000))
            async for line in answer.content:
                if line.startswith(b"data: "):
                    whole += line + b"\n"
                    patience -= 1
                if not patience:
                    answer.close()
                    break
    return whole


@pytest.mark.parametrize("asked", ["text 60 0.02", "tools"])
async def test_fifty_readers_see_the_same_bytes(server: Server, asked: str) -> None:
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
        body = {"input": asked, "background": True}
        async with http.post(f"{server.url}/responses", json=body) as answer:
            url = f"{server.url}/responses/{(await answer.json())['id']}"
        seen = await asyncio.gather(*[read(http, url, seed) for seed in range(READERS)])
        async with http.get(url, params={"stream": "true"}) as answer:
            replay = (await answer.read()).replace(KEEP_ALIVE, b"")
    assert set(seen) == {replay}
