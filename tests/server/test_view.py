"""What strict clients see of any stored stream, from any cursor, is one well-formed stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdurable.errors import InvalidEvent, InvalidRequest
from pgdurable.server.view import Choices, Projection, project_response
from tests.envelope.log import Log
from tests.envelope.test_openai_accumulator import served
from tests.envelope.yields import yields, yields_and_errors
from tests.support.grammar import check_stream

Json = dict[str, Any]
MCP = Choices(tools="mcp_call")
MARKER = Choices(resume_marker="in_progress")
STRICT = Choices(tools="mcp_call", resume_marker="in_progress")


class Stored(NamedTuple):
    seq: int
    type: str
    body: bytes


def call(number: int, **fields: Any) -> Json:
    item = {"type": "function_call", "call_id": f"c{number}", "name": "f", "arguments": "{}"}
    return {"type": "response.output_item.done", "item": {**item, **fields}}


def result(number: int, output: Any = "ok") -> Json:
    item = {"type": "function_call_output", "call_id": f"c{number}", "output": output}
    return {"type": "response.output_item.done", "item": item}


numbers = st.integers(1, 4)
outputs = st.sampled_from(["ok", [{"type": "input_text", "text": "a"}]])
between = st.lists(st.one_of(st.just("a"), st.builds(call, numbers)), max_size=2)
rounds = st.builds(
    lambda number, meanwhile, output: [call(number), *meanwhile, result(number, output)],
    numbers,
    between,
    outputs,
)


def attempts_of(single: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[list[list[Any]]]:
    """Attempts, whose handlers yield whole and half tool rounds among anything else."""
    half = st.one_of(st.builds(call, numbers), st.builds(result, numbers, outputs), st.just("a"))
    fragment = st.one_of(rounds, half.map(lambda one: [one]), single.map(lambda one: [one]))
    attempt = st.lists(fragment, max_size=most).map(lambda some: [one for f in some for one in f])
    return st.lists(attempt, min_size=1, max_size=3)


sequences = attempts_of(yields_and_errors, 8)
projections = st.sampled_from([MCP, MARKER, STRICT])


def log_of(attempts: Iterable[Iterable[object]], *, how: str = "complete") -> Log:
    """What is refused leaves no trace; between two attempts there is a takeover."""
    log = Log()
    for number, sequence in enumerate(attempts):
        if number:
            log.start()
        for one in sequence:
            try:
                log.feed(one)
            except InvalidEvent:
                continue
    envelope = log.envelope
    log.end(envelope.cancel() if how == "cancel" else envelope.complete())
    return log


def stored(log: Log) -> list[Stored]:
    return [Stored(seq, kind, body) for seq, (kind, body) in enumerate(log.stored)]


def projected(log: Log, wanted: Choices, *, after: int = -1) -> list[Json]:
    projection = Projection(wanted, after=after)
    return [
        {**orjson.loads(body), "sequence_number": seq}
        for entry in stored(log)
        for seq, body in projection.project([entry])
    ]


def renumbered(events: list[Json]) -> list[Json]:
    """The grammar knows no gaps."""
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def types(events: list[Json]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


@given(sequences, projections, st.sampled_from(["complete", "cancel"]))
def test_any_stream_is_projected_to_a_well_formed_one(
    attempts: list[list[object]], wanted: Choices, how: str
) -> None:
    log = log_of(attempts, how=how)
    events = projected(log, wanted)
    seqs = [event["sequence_number"] for event in events]

    assert seqs == sorted(set(seqs)) and set(seqs) <= set(range(len(log.stored)))
    assert seqs[0] == 0 and seqs[-1] == len(log.stored) - 1
    output = check_stream(renumbered(events))
    assert output == project_response(log.events[-1]["response"], wanted)["output"]


@given(sequences, projections, st.data())
def test_a_reader_that_comes_back_gets_the_rest_exactly_once(
    attempts: list[list[object]], wanted: Choices, data: st.DataObject
) -> None:
    log = log_of(attempts)
    whole = projected(log, wanted)
    cursor = data.draw(st.integers(-1, len(log.stored)))
    rest = [event for event in whole if event["sequence_number"] > cursor]

    assert projected(log, wanted, after=cursor) == rest


@given(sequences, projections, st.integers(1, 7))
def test_how_events_are_batched_changes_nothing(
    attempts: list[list[object]], wanted: Choices, size: int
) -> None:
    entries = stored(log_of(attempts))
    one, many = Projection(wanted), Projection(wanted)
    batches = [entries[start : start + size] for start in range(0, len(entries), size)]

    assert [event for batch in batches for event in many.project(batch)] == one.project(entries)


@given(sequences)
def test_no_executed_call_is_left_for_the_client_to_run(attempts: list[list[object]]) -> None:
    log = log_of(attempts)
    before = log.events[-1]["response"]["output"]
    after = project_response(log.events[-1]["response"], MCP)["output"]

    executed = {
        item["call_id"]
        for position, item in enumerate(before)
        if item["type"] == "function_call_output"
        and any(
            earlier["type"] == "function_call" and earlier["call_id"] == item["call_id"]
            for earlier in before[:position]
        )
    }
    calls = [item["call_id"] for item in after if item["type"] == "function_call"]
    assert not executed & set(calls)
    made = [item for item in after if item["type"] == "mcp_call"]
    given_as_such = [item for item in before if item["type"] == "mcp_call"]
    assert len(made) == len(executed) + len(given_as_such)
    assert len({item["id"] for item in after}) == len(after) == len(before) - len(executed)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@given(attempts_of(yields, 6))
def test_the_strict_accumulator_reads_every_projected_stream(attempts: list[list[object]]) -> None:
    log = log_of(attempts)
    if log.status != "completed":
        return
    events = projected(log, STRICT)
    with (
        served(events) as client,
        client.responses.stream(model="agent", input="hi") as stream,
    ):
        assert [event.type for event in stream] == [event["type"] for event in events]
        final = stream.get_final_response()
    assert [getattr(item, "id", None) for item in final.output] == [
        item["id"] for item in events[-1]["response"]["output"]
    ]


def test_a_call_and_its_output_are_one_item() -> None:
    log = log_of([["Let me see. ", call(1, arguments='{"a":1}'), result(1, "42"), "It is 42."]])
    events = projected(log, MCP)
    done = [event for event in events if event["type"] == "response.output_item.done"]

    assert types(events)[types(events).index("output_item.done") + 1 :][:4] == [
        "output_item.added",
        "mcp_call_arguments.delta",
        "mcp_call_arguments.done",
        "output_item.done",
    ]
    assert [event["output_index"] for event in done] == [0, 1, 2]
    item = done[1]["item"]
    assert item.pop("id") == log.events[-1]["response"]["output"][1]["id"]
    assert item == {
        "type": "mcp_call",
        "status": "completed",
        "server_label": "agent",
        "name": "f",
        "arguments": '{"a":1}',
        "output": "42",
        "error": None,
    }


@pytest.mark.parametrize(("of_call", "of_output"), [("failed", None), (None, "failed")])
def test_a_call_that_has_failed_does_not_look_completed(
    of_call: str | None, of_output: str | None
) -> None:
    output = result(1)
    output["item"] |= {"status": of_output or "completed"}
    log = log_of([[call(1, status=of_call or "completed"), output]])
    (shown,) = projected(log, MCP)[-1]["response"]["output"]
    assert (shown["type"], shown["status"]) == ("mcp_call", "failed")


def test_a_call_that_nobody_executes_stays_the_clients() -> None:
    log = log_of([["Your turn: ", call(1)]])

    assert projected(log, MCP) == [
        {key: value for key, value in event.items() if key != "response_id"} for event in log.events
    ]


def test_the_stream_waits_at_a_call_and_goes_on_at_its_output() -> None:
    log = log_of([[call(1), call(2), "Meanwhile. ", result(2), result(1), "Done."]])
    projection = Projection(MCP)
    out = [[seq for seq, _ in projection.project([entry])] for entry in stored(log)]
    closed = [n for n, e in enumerate(stored(log)) if e.type == "response.output_item.done"]
    first_call, last_output = closed[0] - 3, closed[4]

    assert all(out[n] == [n] for n in range(first_call))
    assert all(out[n] == [] for n in range(first_call, last_output))
    assert out[last_output][0] == first_call
    assert all(out[n] == [n] for n in range(last_output + 1, len(out)))


def test_a_call_of_a_dead_attempt_stays_a_call_and_the_new_one_is_merged() -> None:
    log = log_of([[call(1)], [call(1), result(1), "Done."]])
    events = projected(log, STRICT)

    items = [e["item"]["type"] for e in events if e["type"] == "response.output_item.done"]
    assert items == ["function_call", "mcp_call", "message"]
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["mcp_call", "message"]


def test_the_stream_does_not_wait_for_the_output_of_a_call_whose_attempt_is_dead() -> None:
    log = log_of([[call(1)], ["again"]])
    entries = stored(log)
    resumed = [entry.type for entry in entries].index("response.resumed")
    shown = Projection(MCP).project(entries[: resumed + 1])
    assert [seq for seq, _ in shown] == list(range(resumed + 1))


def test_the_marker_becomes_an_in_progress_with_the_items_so_far() -> None:
    log = log_of([[call(1), result(1), "Half"], ["Whole"]])
    marker = next(event for event in projected(log, STRICT) if "resumed" in event)
    resumed = next(event for event in log.events if event["type"] == "response.resumed")

    assert marker["sequence_number"] == resumed["sequence_number"]
    assert (marker["type"], marker["attempt"]) == ("response.in_progress", 2)
    assert marker["response"]["status"] == "in_progress"
    assert marker["response"]["model"] == "agent"
    executed, half = marker["response"]["output"]
    assert executed["type"] == "mcp_call"
    # It is open there, and closed right after: so a client's snapshot must have it.
    assert (half["status"], half["content"][0]["text"]) == ("incomplete", "Half")


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("as it is", "as it is"),
        ([{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}], "a\nb"),
        ([{"type": "input_image", "image_url": "x"}], '[{"type":"input_image","image_url":"x"}]'),
    ],
)
def test_any_tool_output_becomes_a_text(output: Any, text: str) -> None:
    log = log_of([[call(1), result(1, output)]])
    (item,) = projected(log, MCP)[-1]["response"]["output"]
    assert item["output"] == text


def test_without_a_projection_nothing_is_changed() -> None:
    log = log_of([[call(1), result(1)], ["Done."]])
    entries = stored(log)

    assert Choices().is_identity and not MCP.is_identity and not MARKER.is_identity
    assert Projection(Choices()).project(entries) == [(entry.seq, entry.body) for entry in entries]
    assert project_response({"output": [1]}, Choices()) == {"output": [1]}


def test_the_query_decides_before_the_servers_setting() -> None:
    assert Choices.of({}, tools="mcp_call", resume_marker="in_progress") == STRICT
    query = {"tools": "function_call", "resume_marker": "resumed"}
    assert Choices.of(query, tools="mcp_call", resume_marker="in_progress").is_identity
    for name in ("tools", "resume_marker"):
        with pytest.raises(InvalidRequest) as refused:
            Choices.of({name: "x"}, tools="function_call", resume_marker="resumed")
        assert refused.value.param == name
