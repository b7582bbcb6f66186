"""For any sequence of yields, cut anywhere and taken over, the stream is well-formed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgdurable.errors import InvalidEvent
from tests.envelope.log import Log
from tests.envelope.yields import items, texts, yields, yields_and_errors
from tests.support.grammar import check_stream

attempts = st.lists(st.lists(yields_and_errors, max_size=12), min_size=1, max_size=4)
endings = st.sampled_from(["complete", "fail", "cancel"])


def feed_all(log: Log, sequence: list[object]) -> None:
    """What is refused must leave no trace: the attempt still closes what is open."""
    for one in sequence:
        try:
            log.feed(one)
        except InvalidEvent as refused:
            assert str(refused)


def end(log: Log, how: str) -> dict[str, Any]:
    if how == "fail":
        return log.end(log.envelope.fail("server_error", "it broke"))
    return log.end(log.envelope.cancel() if how == "cancel" else log.envelope.complete())


def closed_items(log: Log) -> list[dict[str, Any]]:
    """Items announced and closed since the last takeover, in the order of their indexes."""
    types = [event["type"] for event in log.events]
    resumed = max((n for n, kind in enumerate(types) if kind == "response.resumed"), default=0)
    own = log.events[resumed:]
    added = {e["output_index"] for e in own if e["type"] == "response.output_item.added"}
    done = [e for e in own if e["type"] == "response.output_item.done"]
    done = [event for event in done if event["output_index"] in added]
    return [event["item"] for event in sorted(done, key=lambda event: event["output_index"])]


@settings(max_examples=300)
@given(attempts, endings)
def test_any_yields_cut_anywhere_become_one_well_formed_stream(
    sequences: list[list[object]], how: str
) -> None:
    log = Log()
    for sequence in sequences[:-1]:
        feed_all(log, sequence)
        log.start()
        check_stream(log.events, finished=False)
    feed_all(log, sequences[-1])
    response = end(log, how)

    assert check_stream(log.events) == response["output"] == closed_items(log)


@given(st.lists(yields, max_size=15), st.data())
def test_a_cut_within_the_events_of_one_yield_is_closed_too(
    sequence: list[object], data: st.DataObject
) -> None:
    log = Log()
    feed_all(log, sequence)
    end(log, "complete")
    del log.stored[data.draw(st.integers(2, len(log.stored) - 1)) :]
    log.start()
    log.feed("anew")
    response = end(log, "complete")

    assert check_stream(log.events) == response["output"]
    assert [part["text"] for item in response["output"] for part in item["content"]] == ["anew"]


@given(st.lists(st.one_of(texts, items), max_size=5))
def test_any_items_an_invoke_handler_returns_become_one_well_formed_stream(
    value: list[object],
) -> None:
    log = Log()
    log.store(log.envelope.result(value))
    response = end(log, "complete")

    assert check_stream(log.events) == response["output"]
    assert len(response["output"]) == len(value)


@given(st.lists(texts, max_size=20), st.lists(st.integers(0, 19), max_size=3))
def test_no_character_of_streamed_text_is_lost_or_repeated(
    words: list[str], tool_calls: list[int]
) -> None:
    log = Log()
    for number, word in enumerate(words):
        if number in tool_calls:
            call = {"type": "function_call", "name": "f", "call_id": f"c{number}"}
            log.feed({"type": "response.output_item.done", "item": call})
        log.feed(word)
    response = end(log, "complete")

    messages = [item for item in response["output"] if item["type"] == "message"]
    said = "".join(part["text"] for item in messages for part in item["content"])
    assert said == "".join(words)


@given(st.lists(yields_and_errors, max_size=12))
def test_a_transform_that_changes_nothing_changes_nothing(sequence: list[object]) -> None:
    plain, transformed = Log(), Log(transform=lambda event, response_id: event)
    feed_all(plain, sequence)
    feed_all(transformed, sequence)
    end(plain, "complete")
    end(transformed, "complete")

    check_stream(transformed.events)
    assert transformed.types == plain.types


@pytest.mark.parametrize("broken", ["gap", "reopened", "two_terminals", "unsummed"])
def test_the_checker_itself_finds_what_is_broken(broken: str) -> None:
    log = Log()
    log.feed("a", "b")
    log.complete()
    events = log.events
    if broken == "gap":
        events[3]["sequence_number"] = 9
    elif broken == "reopened":
        events[7:7] = [events[2]]
    elif broken == "two_terminals":
        events.append(events[-1])
    else:
        events[4]["delta"] = "c"
    with pytest.raises(AssertionError):
        check_stream(
            [{**event, "sequence_number": n} for n, event in enumerate(events)]
            if broken != "gap"
            else events
        )
