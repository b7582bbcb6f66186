"""How a response goes on whose process has died, by the `recovery` of its agent.

The dead process is played: its claim and its events are put into the log, up to any event, and its
lease runs out. The server that a reader is attached to, and the worker that takes over, are real.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pgdurable.envelope import Envelope
from pgdurable.models import ClaimedResponse, NewEvent
from tests.support.engine import Conn, append, attempts_of, claim, release
from tests.support.grammar import check_stream
from tests.support.inside import Event, Inside, inside, text_of
from tests.support.waiting import TIMEOUT

CALL = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at": 1}'}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "seen"}
SCRIPTS: dict[str, list[Any]] = {
    "text": ["Hello ", "wor", "ld, ", "here ", "we ", "are."],
    "tools": [
        "Let me see. ",
        {"type": "response.output_item.done", "item": CALL},
        {"type": "response.output_item.done", "item": RESULT},
        "It is ",
        "there.",
    ],
    "reasoning and events of its own": [
        {"type": "my.progress", "percent": 50},
        {"type": "response.reasoning_summary_text.delta", "delta": "think", "item_id": "r"},
        {"type": "response.reasoning_summary_text.delta", "delta": "ing", "item_id": "r"},
        {"type": "my.progress", "percent": 90},
        "Done.",
    ],
}


def saying(values: Iterable[Any]) -> Callable[..., Any]:
    async def handler(request: Any) -> AsyncIterator[Any]:
        for value in values:
            yield value

    return handler


def told(
    values: Iterable[Any], held: ClaimedResponse | None = None, *, result: bool = False
) -> list[NewEvent]:
    """What a first attempt stores of these, before it ends."""
    envelope = Envelope(held.response_id if held else "resp_1", created_at=0, attempt=1, fields={})
    take = envelope.result if result else envelope.feed
    return [event for value in values for event in take(value)]


class Stage:
    """A server without a worker, a connection to its database, and the attempts that are lost."""

    def __init__(self, front: Inside, db: Conn, dsn: str) -> None:
        self.front = front
        self._db = db
        self._dsn = dsn

    async def lose(
        self, values: Iterable[Any], *, keep: int | None = None, result: bool = False, **sent: Any
    ) -> str:
        """A response whose process dies after it has stored that many events; its id."""
        response_id, held = await self._begin(sent)
        events = told(values, held, result=result)[:keep]
        assert (await append(self._db, held, *events)).outcome == "ok"
        await self._db.execute(
            "update pgdurable.responses set lease_expires_at = pgdurable.now() - interval '1 s'"
            " where response_id = %s",
            [response_id],
        )
        return response_id

    async def hand_back(self, values: Iterable[Any], **sent: Any) -> str:
        """A response whose process ends by SIGTERM; its id."""
        response_id, held = await self._begin(sent)
        assert (await append(self._db, held, *told(values, held))).outcome == "ok"
        assert (await release(self._db, held)).outcome == "ok"
        return response_id

    async def _begin(self, sent: dict[str, Any]) -> tuple[str, ClaimedResponse]:
        response_id = await self.front.post(**sent)
        (held,) = await claim(self._db, "dead")
        assert held.response_id == response_id
        return response_id, held

    @asynccontextmanager
    async def worker(
        self, stream: Any = None, *, recovery: Any = "restart", **more: Any
    ) -> AsyncIterator[Inside]:
        """A process that takes over, as long as the block lasts."""
        async with inside(self._dsn, stream, recovery=recovery, **more) as running:
            yield running

    async def tail(self, response_id: str, query: str = "") -> list[Event]:
        """What a reader sees, to the end."""
        return await self.front.events(response_id, query)

    async def so_far(self, response_id: str) -> list[Event]:
        """What is stored, and not about the response as a whole."""
        rows = await self._db.execute(
            "select e.body::text from pgdurable.events as e where e.response_id = %s"
            " order by e.seq",
            [response_id],
        )
        return [json.loads(body) for (body,) in await rows.fetchall()]


@pytest.fixture
async def stage(dsn: str, db: Conn) -> AsyncIterator[Stage]:
    async with inside(dsn, saying([]), worker=False) as front:
        yield Stage(front, db, dsn)


class Names:
    """Names that are made up anew each time, as numbers in the order of their appearance."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def of(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.of(one) for one in value]
        if not isinstance(value, dict):
            return value
        return {
            key: self._number(one)
            if key in ("id", "item_id", "call_id", "response_id")
            else self.of(one)
            for key, one in value.items()
            if not key.endswith("_at") and key != "attempt_number"
        }

    def _number(self, name: Any) -> int:
        return self._numbers.setdefault(name, len(self._numbers))


def unnamed(events: list[Event]) -> Any:
    return Names().of(events)


def delta_text(events: list[Event]) -> str:
    return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")


async def attached(stage: Stage, response_id: str, query: str = "") -> asyncio.Task[list[Event]]:
    """A reader that has seen what there is, and waits for more."""
    return asyncio.create_task(stage.tail(response_id, query))


@pytest.mark.parametrize("script", SCRIPTS)
async def test_a_death_after_any_event_is_not_seen_by_any_reader(
    script: str, stage: Stage, db: Conn
) -> None:
    values = SCRIPTS[script]
    async with stage.worker(saying(values)):
        undisturbed = await stage.tail(await stage.front.post())
    expected = unnamed(undisturbed)
    count = len(told(values))
    lost = [await stage.lose(values, keep=keep) for keep in range(1, count + 1)]
    readers = [await attached(stage, response_id) for response_id in lost]
    async with asyncio.timeout(TIMEOUT), stage.worker(saying(values)):
        seen = await asyncio.gather(*readers)
    for keep, (response_id, stayed) in enumerate(zip(lost, seen, strict=True), 1):
        assert unnamed(stayed) == expected, keep
        check_stream(stayed)
        cursor = keep + 1
        back = await stage.tail(response_id, f"&starting_after={cursor}")
        assert stayed[: cursor + 1] + back == stayed
        stored = await stage.front.get(response_id)
        assert stored == stayed[-1]["response"]
        outcomes = [
            (reason, outcome) for _, _, reason, _, outcome in await attempts_of(db, response_id)
        ]
        assert outcomes == [("claim", "lost"), ("takeover", "completed")]


async def test_other_chunks_go_on_in_mid_word(stage: Stage) -> None:
    response_id = await stage.lose(["Hello wo"])
    async with stage.worker(saying(["Hel", "lo world, go", "od night"])):
        seen = await stage.tail(response_id)
    deltas = [event["delta"] for event in seen if event["type"].endswith("output_text.delta")]
    assert deltas == ["Hello wo", "rld, go", "od night"]
    assert "response.resumed" not in [event["type"] for event in seen]


async def test_what_says_something_else_comes_after_a_marker_and_is_the_output(
    stage: Stage,
) -> None:
    response_id = await stage.lose(["Hello ", "world"])
    reader = await attached(stage, response_id)
    async with stage.worker(saying(["Hello ", "you"])):
        seen = await reader
    (marker,) = [event for event in seen if event["type"] == "response.resumed"]
    at = marker["sequence_number"]
    assert marker["from_seq"] == at == seen.index(marker)
    assert marker["attempt"] == 2
    assert delta_text(seen[:at]) == "Hello world"
    assert delta_text(seen[at:]) == "Hello you"
    assert text_of(seen[-1]["response"]) == "Hello you"
    assert check_stream(seen) == seen[-1]["response"]["output"]
    assert await stage.front.get(response_id) == seen[-1]["response"]


async def test_a_third_attempt_retraces_what_the_second_has_said_after_its_marker(
    stage: Stage,
) -> None:
    response_id = await stage.lose(["Hello ", "world"])
    stuck = asyncio.Event()

    async def other(request: Any) -> AsyncIterator[str]:
        yield "Good "
        stuck.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(TIMEOUT), stage.worker(other):
        await stuck.wait()
        while "Good " not in delta_text(await stage.so_far(response_id)):
            await asyncio.sleep(0.02)
    async with stage.worker(saying(["Good ", "night"])):
        seen = await stage.tail(response_id)
    assert [event["type"] for event in seen].count("response.resumed") == 1
    assert delta_text(seen) == "Hello worldGood night"
    assert text_of(seen[-1]["response"]) == "Good night"
    check_stream(seen)


async def test_what_was_handed_back_goes_on_without_a_seam(stage: Stage, db: Conn) -> None:
    response_id = await stage.hand_back(["Hello ", "wo"])
    async with stage.worker(saying(["Hello ", "world"])):
        seen = await stage.tail(response_id)
    assert delta_text(seen) == "Hello world"
    assert "response.resumed" not in [event["type"] for event in seen]
    assert [reason for _, _, reason, _, _ in await attempts_of(db, response_id)] == [
        "claim",
        "release",
    ]


async def test_an_invoke_handler_ends_without_a_seam(stage: Stage) -> None:
    async def answers(request: Any) -> str:
        return "Hello world"

    for keep in range(1, len(told(["Hello world"], result=True)) + 1):
        response_id = await stage.lose(["Hello world"], keep=keep, result=True)
        async with stage.worker(invoke=answers):
            seen = await stage.tail(response_id)
        assert delta_text(seen) == "Hello world"
        assert "response.resumed" not in [event["type"] for event in seen]
        assert text_of(seen[-1]["response"]) == "Hello world"
        check_stream(seen)


@pytest.mark.parametrize("says", [["Hello "], ["Good "]], ids=["the same", "something else"])
@pytest.mark.parametrize("how", ["cancel", "fail"])
async def test_an_end_before_it_has_caught_up_keeps_what_readers_have_seen(
    how: str, says: list[str], stage: Stage
) -> None:
    response_id = await stage.lose(["Hello ", "world"])
    begun = asyncio.Event()

    async def ends(request: Any) -> AsyncIterator[str]:
        for word in says:
            yield word
        begun.set()
        if how == "fail":
            raise ValueError("no")
        await asyncio.Event().wait()

    reader = await attached(stage, response_id)
    async with asyncio.timeout(TIMEOUT), stage.worker(ends):
        await begun.wait()
        if how == "cancel":
            url = f"{stage.front.url}/responses/{response_id}/cancel"
            async with stage.front.session.post(url) as answer:
                assert answer.status == 200, await answer.text()
        seen = await reader
    response = seen[-1]["response"]
    assert response["status"] == {"cancel": "cancelled", "fail": "failed"}[how]
    assert text_of(response) == ("Hello world" if says == ["Hello "] else "Good ")
    assert check_stream(seen) == response["output"]


async def test_the_views_of_a_log_without_a_seam_are_those_of_one_attempt(stage: Stage) -> None:
    query = "&resume_marker=in_progress&tools=mcp_call"
    values = SCRIPTS["tools"]
    async with stage.worker(saying(values)):
        undisturbed = await stage.tail(await stage.front.post(), query)
    lost = [await stage.lose(values, keep=keep) for keep in range(1, len(told(values)) + 1)]
    readers = [await attached(stage, response_id, query) for response_id in lost]
    async with asyncio.timeout(TIMEOUT), stage.worker(saying(values)):
        for seen in await asyncio.gather(*readers):
            assert unnamed(seen) == unnamed(undisturbed)


async def test_the_views_of_a_log_with_a_marker_are_well_formed(stage: Stage) -> None:
    values = SCRIPTS["tools"]
    other = ["Let me think. ", *values[1:]]
    for keep in range(3, len(told(values)) + 1, 3):
        response_id = await stage.lose(values, keep=keep)
        async with stage.worker(saying(other)):
            stored = await stage.tail(response_id)
        seen = await stage.tail(response_id, "&resume_marker=in_progress&tools=mcp_call")
        types = [event["type"] for event in seen]
        assert "response.resumed" not in types
        assert types.count("response.in_progress") == 2
        kinds = [item["type"] for item in seen[-1]["response"]["output"]]
        assert kinds == ["message", "mcp_call", "message"]
        assert delta_text(seen) == delta_text(stored)


class Asked:
    """A handler that answers, and keeps what it was asked."""

    def __init__(self) -> None:
        self.request: Any = None
        self.context: Any = None
        self.known: list[Event] = []

    async def __call__(self, request: Any, context: Any) -> AsyncIterator[str]:
        self.request, self.context = request, context
        self.known = await context.previous_events()
        yield "and done"


SENT: dict[str, Any] = {"says": "Where is Ada?", "context": {"conversation_id": "c"}}


async def test_restart_gives_the_original_request_on_the_same_conversation(stage: Stage) -> None:
    asked = Asked()
    response_id = await stage.lose(["Hello "], **SENT)
    async with stage.worker(asked):
        await stage.tail(response_id)
    assert [item.content for item in asked.request.input] == ["Where is Ada?"]
    assert asked.context.conversation_id == "c"
    assert asked.context.is_recovery
    assert delta_text(asked.known) == "Hello "


async def test_session_gives_one_note_on_the_same_conversation(stage: Stage) -> None:
    asked = Asked()
    response_id = await stage.lose(["Hello "], **SENT)
    async with stage.worker(asked, recovery="session"):
        seen = await stage.tail(response_id)
    (note,) = asked.request.input
    assert note.content.startswith("[RECOVERY]")
    assert (asked.request.text, asked.request.messages) == ("", [])
    assert asked.context.conversation_id == asked.request.context.conversation_id == "c"
    (marker,) = [event for event in seen if event["type"] == "response.resumed"]
    assert marker["conversation_id"] == "c"
    assert text_of(seen[-1]["response"]) == "and done"


async def test_prose_gives_the_input_and_a_note_on_another_conversation(stage: Stage) -> None:
    asked = Asked()
    response_id = await stage.lose(["Hello "], **SENT)
    async with stage.worker(asked, recovery="prose"):
        seen = await stage.tail(response_id)
    said, note = asked.request.input
    assert said.content == asked.request.text == "Where is Ada?"
    assert note.content.startswith("[RECOVERY]") and "Hello " in note.content
    assert asked.request.messages == [said]
    assert asked.context.conversation_id not in ("c", response_id)
    assert "response.resumed" in [event["type"] for event in seen]


async def test_a_function_decides_what_the_next_attempt_is_asked(stage: Stage) -> None:
    asked = Asked()

    async def shorter(request: Any, context: Any) -> Any:
        return {**request, "input": f"{request.text} ({len(await context.previous_events())})"}

    response_id = await stage.lose(["Hello "], **SENT)
    async with stage.worker(asked, recovery=shorter):
        await stage.tail(response_id)
    assert asked.request.text == "Where is Ada? (4)"
