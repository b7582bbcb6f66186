"""Handlers as they are written for MLflow's agent server, on the module-level decorators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

from pgdurable import LongRunningAgentServer, get_request_headers, invoke, stream


class ResponsesAgentStreamEvent(BaseModel):
    """A pydantic event with extra fields, like MLflow's."""

    model_config = ConfigDict(extra="allow")
    type: str


class ResponsesAgentResponse(BaseModel):
    """A pydantic answer, like MLflow's."""

    output: list[dict[str, Any]]
    custom_outputs: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


def message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": str(uuid4()), "role": "assistant", "status": "completed"}
    return {**item, "content": [part]}


def answer(request: Any) -> str:
    user = request.context.user_id if request.context else None
    return f"{user or 'nobody'} asked {request.input[-1].content}, token {_token()}"


def _token() -> str | None:
    return get_request_headers().get("x-forwarded-access-token")


@invoke()
async def non_streaming(request: Any) -> ResponsesAgentResponse:
    """Answer with a pydantic object."""
    dumped = request.model_dump()
    return ResponsesAgentResponse(
        output=[message(answer(request))],
        custom_outputs={"inputs": dumped["custom_inputs"], "asked": len(dumped["input"])},
        metadata={"trace_id": "tr-mlflow"},
    )


@stream()
def streaming(request: Any) -> Iterator[ResponsesAgentStreamEvent | dict[str, Any]]:
    """A sync generator of dicts and pydantic events."""
    text = answer(request)
    item_id = str(uuid4())
    for word in text.split(" "):
        yield ResponsesAgentStreamEvent.model_validate(
            {"type": "response.output_text.delta", "item_id": item_id, "delta": f"{word} "}
        )
    item = {**message(text + " "), "id": item_id}
    yield {"type": "response.output_item.done", "item": item}


server = LongRunningAgentServer("ResponsesAgent")
