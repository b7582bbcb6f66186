# mypy: disable-error-code="import-not-found, untyped-decorator, misc"
"""The seed's own server on plain Postgres: python -m benchmarks.peers.seed_server DSN PORT [STALE].

Its engine factory insists on a hosted database's tokens, so it is replaced by SQLAlchemy's own with
the same keyword arguments. Tracing is switched off, because we have none either. The agent does
what benchmarks/tools/agents.py does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

os.environ.setdefault("LAKEBASE_INSTANCE_NAME", "local")

import databricks_ai_bridge.long_running.db as seed_db
import mlflow
import uvicorn
from databricks_ai_bridge.long_running import LongRunningAgentServer
from mlflow.genai.agent_server import invoke, stream
from mlflow.types.responses import ResponsesAgentResponse, ResponsesAgentStreamEvent
from sqlalchemy.ext.asyncio import create_async_engine

DSN = sys.argv[1].replace("postgresql://", "postgresql+psycopg://")


class PlainEngine:
    def __init__(self, instance_name: str | None = None, **keywords: Any) -> None:
        self.engine = create_async_engine(DSN, pool_recycle=14 * 60, **keywords)


def specification(request: Any) -> dict[str, Any]:
    message = request.input[0]
    parsed: dict[str, Any] = json.loads(message.content)
    return parsed


def item(text: str) -> dict[str, Any]:
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }


@invoke()
async def nothing(request: Any) -> Any:
    return ResponsesAgentResponse(output=[item("ok")])


@stream()
async def deltas(request: Any) -> AsyncIterator[Any]:
    spec = specification(request)
    limit, delay, pad = spec.get("n", 2**62), spec.get("delay", 0), "x" * spec.get("pad", 0)
    await asyncio.sleep(spec.get("hold", 0))
    due = time.monotonic()
    until = due + spec.get("seconds", 3600)
    for number in range(limit):
        if delay:
            due += delay
            await asyncio.sleep(max(0, due - time.monotonic()))
        now = time.monotonic()
        if now >= until:
            break
        yield ResponsesAgentStreamEvent(
            type="response.output_text.delta",
            item_id="msg_1",
            output_index=0,
            content_index=0,
            delta=f"{now!r}|{number}|{os.getpid()}|{pad}",
        )
    yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item("done"))


def main() -> None:
    settings: dict[str, float] = {}
    if len(sys.argv) > 3:
        stale = float(sys.argv[3])
        settings = {
            "heartbeat_stale_threshold_seconds": stale,
            "heartbeat_interval_seconds": stale / 4,
        }
    seed_db.AsyncLakebaseSQLAlchemy = PlainEngine
    mlflow.tracing.disable()
    server = LongRunningAgentServer("ResponsesAgent", **settings)
    uvicorn.run(
        server.app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False
    )


if __name__ == "__main__":
    main()
