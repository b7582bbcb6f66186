"""What the scenarios share: how they are registered, a client, what is often looked at."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import openai

Scenario = Callable[[Any], None]
SCENARIOS: dict[str, list[tuple[str, Scenario]]] = {"server": [], "fleet": []}
WORDS = "".join(f"w{number} " for number in range(10))


def server(function: Scenario) -> Scenario:
    """A scenario for one server; it is given a client."""
    SCENARIOS["server"].append((function.__name__, function))
    return function


def fleet(function: Scenario) -> Scenario:
    """A scenario that kills the process which runs its response; it is given the setting."""
    SCENARIOS["fleet"].append((function.__name__, function))
    return function


def connect(url: str, **options: Any) -> Any:
    return openai.OpenAI(base_url=url, api_key="-", timeout=30, **options)


def strict(client: Any) -> Any:
    """The same client, refusing every answer that is not of the published types."""
    return connect(str(client.base_url), _strict_response_validation=True)


def numbers(events: list[Any]) -> list[int]:
    return [event.sequence_number for event in events]


def text(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def plain(events: list[Any]) -> list[Any]:
    return [event.to_dict() for event in events]


def replay(client: Any, response_id: str) -> list[Any]:
    return list(client.responses.retrieve(response_id, stream=True))


def made(client: Any, tag: str) -> list[Any]:
    """The responses that were made with this metadata."""
    url = f"{str(client.base_url).rstrip('/')}/responses?metadata.tag={tag}"
    with urllib.request.urlopen(url) as answer:
        data: list[Any] = json.load(answer)["data"]
        return data


def poll(client: Any, response: Any) -> Any:
    deadline = time.monotonic() + 30
    while response.status in ("queued", "in_progress"):
        assert time.monotonic() < deadline, response
        time.sleep(0.02)
        response = client.responses.retrieve(response.id)
    return response


def refused(kind: Any, call: Any, *args: Any, **kwargs: Any) -> Any:
    """The exception of this kind that the call raises."""
    try:
        call(*args, **kwargs)
    except kind as exc:
        return exc
    raise AssertionError(f"no {kind.__name__}")
