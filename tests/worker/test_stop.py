"""How an attempt hears that it should stop, by the shortest way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pgdurable.worker.lease import Heartbeat
from tests.support.inside import inside
from tests.support.waiting import TIMEOUT


class Endless:
    """A handler that never ends by itself, and tells when it was cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, request: Any) -> AsyncIterator[str]:
        try:
            yield "begun"
            self.begun.set()
            await asyncio.sleep(3600)
        finally:
            self.cancelled.set()


@pytest.fixture
def paused_heartbeat(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The heartbeat's thread stands still, with whatever it is asked."""
    resume = threading.Event()
    monkeypatch.setattr(Heartbeat, "_renew", lambda self, attempts: resume.wait(TIMEOUT))
    yield
    resume.set()


@pytest.mark.usefixtures("paused_heartbeat")
async def test_a_cancel_over_http_reaches_its_attempt_without_the_heartbeat(dsn: str) -> None:
    endless = Endless()
    async with inside(dsn, endless, heartbeat_stale_threshold_seconds=60) as server:
        response_id = await server.post()
        await endless.begun.wait()
        async with server.session.post(f"{server.url}/responses/{response_id}/cancel") as answer:
            response = await answer.json()
        assert endless.cancelled.is_set()
    assert response["status"] == "cancelled"


@pytest.mark.usefixtures("paused_heartbeat")
async def test_a_deletion_over_http_reaches_its_attempt_without_the_heartbeat(dsn: str) -> None:
    endless = Endless()
    async with inside(dsn, endless, heartbeat_stale_threshold_seconds=60) as server:
        response_id = await server.post()
        await endless.begun.wait()
        async with server.session.delete(f"{server.url}/responses/{response_id}") as answer:
            assert answer.status == 200
        async with asyncio.timeout(TIMEOUT):
            await endless.cancelled.wait()
