"""A client that keeps every byte it was sent, and comes back with its cursor when it is cut off."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any

import aiohttp

_NUMBER = re.compile(rb'"sequence_number":(\d+)')
GIVE_UP_SECONDS = 45.0


class Recording:
    """One response, as one client saw it: `frames` in the order of their arrival.

    `follow` takes a server's URL, or a function that is asked for one at every connection.
    """

    def __init__(self, response_id: str) -> None:
        self.response_id = response_id
        self.frames: list[tuple[int, bytes]] = []
        self.arrived: list[float] = []
        self.connections = 0
        self.done = False

    @property
    def cursor(self) -> int:
        return self.frames[-1][0] if self.frames else -1

    async def follow(
        self, session: aiohttp.ClientSession, where: str | Callable[[], str]
    ) -> Recording:
        """To `[DONE]`, through as many connections as it takes."""
        give_up_at = time.monotonic() + GIVE_UP_SECONDS
        while not self.done:
            assert time.monotonic() < give_up_at, f"{self.response_id} got as far as {self.cursor}"
            server = where if isinstance(where, str) else where()
            url = f"{server}/responses/{self.response_id}?stream=true&starting_after={self.cursor}"
            try:
                async with asyncio.timeout(GIVE_UP_SECONDS), session.get(url) as answer:
                    if answer.status == 200:
                        self.connections += 1
                        await self._read(answer)
            except (aiohttp.ClientError, ConnectionError):
                pass
            if not self.done:
                await asyncio.sleep(0.05)
        return self

    async def _read(self, answer: aiohttp.ClientResponse) -> None:
        rest = b""
        async for chunk in answer.content.iter_any():
            *whole, rest = (rest + chunk).split(b"\n\n")
            for frame in whole:
                self._take(frame)

    def _take(self, frame: bytes) -> None:
        if frame == b"data: [DONE]":
            self.done = True
        elif frame.startswith(b"data: "):
            number = _NUMBER.search(frame)
            assert number, frame
            self.frames.append((int(number[1]), frame))
            self.arrived.append(time.monotonic())

    def seen(self, event_type: str) -> bool:
        """Has an event of this type come?"""
        sought = f'data: {{"type":"{event_type}"'.encode()
        return any(frame.startswith(sought) for _, frame in self.frames)


async def post(session: aiohttp.ClientSession, url: str, says: str, **more: Any) -> str:
    """A background response; sent again while the server has no database."""
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while True:
        body = {"input": says, "background": True, **more}
        try:
            async with session.post(f"{url}/responses", json=body) as answer:
                if answer.status == 200:
                    return str((await answer.json())["id"])
                said = await answer.text()
                assert answer.status == 503, said
        except (aiohttp.ClientError, ConnectionError) as exc:
            said = repr(exc)
        assert time.monotonic() < give_up_at, said
        await asyncio.sleep(0.1)


async def posted(
    session: aiohttp.ClientSession, url: str, count: int, says: str
) -> list[Recording]:
    """That many background responses."""
    ids = await asyncio.gather(*[post(session, url, says) for _ in range(count)])
    return [Recording(response_id) for response_id in ids]


def text_of(event: dict[str, Any]) -> str:
    """The text of a terminal event's output."""
    items = event["response"]["output"]
    return "".join(
        part["text"] for item in items if item["type"] == "message" for part in item["content"]
    )


def words(count: int) -> str:
    """What `text COUNT ...` says."""
    return "".join(f"w{number} " for number in range(count))


def decoded(frame: bytes) -> dict[str, Any]:
    """The event in a frame."""
    event: dict[str, Any] = json.loads(frame.removeprefix(b"data: "))
    return event
