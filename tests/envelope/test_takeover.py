"""The next attempt closes what the last one left open, and reuses none of its names."""

from __future__ import annotations

from typing import Any

from tests.envelope.log import Log
from tests.support.grammar import check_stream


def added(**item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.added", "item": item}


def done(**item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": item}


def closings(log: Log) -> list[dict[str, Any]]:
    """The events the new attempt began with."""
    before = len(log.stored) + 1
    log.start()
    check_stream(log.events, finished=False)
    return log.events[before:]


CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f"}


def test_an_orphaned_message_is_closed_with_its_text_so_far() -> None:
    log = Log()
    log.feed("Half ", "a sentence")
    events = closings(log)

    assert [event["type"].removeprefix("response.") for event in events] == [
        "output_text.done",
        "content_part.done",
        "output_item.done",
    ]
    item = events[-1]["item"]
    assert events[-1]["output_index"] == 0 and item["status"] == "incomplete"
    assert item["content"][0]["text"] == events[0]["text"] == "Half a sentence"


def test_an_orphaned_call_keeps_its_identity_and_its_arguments_are_not_ended() -> None:
    log = Log()
    log.feed(added(**CALL))
    log.feed({"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": '{"a'})
    (event,) = closings(log)
    assert event["item"] == {**CALL, "arguments": '{"a', "status": "incomplete"}


def test_several_orphans_are_closed_in_the_order_of_their_indexes() -> None:
    log = Log()
    log.feed(added(type="message", id="m"), added(**CALL), added(type="reasoning", id="r"))
    log.feed({"type": "response.reasoning_summary_text.delta", "item_id": "r", "delta": "hm"})
    log.feed(done(type="message", id="m", content="closed"))
    items = [event["item"] for event in closings(log) if "item" in event]
    assert [item["id"] for item in items] == ["fc_1", "r"]
    assert items[1]["summary"] == [{"type": "summary_text", "text": "hm"}]


def test_ended_parts_and_their_annotations_are_not_ended_again() -> None:
    log = Log()
    cite = {"type": "file_path", "file_id": "f", "index": 0}
    at = {"item_id": "m", "content_index": 0}
    log.feed(
        {"type": "response.output_text.delta", **at, "delta": "a"},
        {"type": "response.output_text.annotation.added", **at, "annotation": cite},
        {"type": "response.output_text.done", **at, "text": "a"},
    )
    events = closings(log)
    assert [event["type"] for event in events] == [
        "response.content_part.done",
        "response.output_item.done",
    ]
    assert events[0]["part"]["annotations"] == [cite]


def test_nothing_is_closed_twice_over_several_takeovers() -> None:
    log = Log()
    log.feed("one")
    assert len(closings(log)) == 3
    assert closings(log) == []
    log.feed("two")
    assert len(closings(log)) == 3
    response = log.complete()
    check_stream(log.events)
    assert response["output"] == [] and response["attempt_number"] == 4


def test_indexes_go_on_and_ids_are_not_used_again() -> None:
    log = Log()
    log.feed(done(type="message", id="m", content="first"), added(**CALL))
    log.start()
    log.feed(added(type="message", id="m"))
    log.feed({"type": "response.output_text.delta", "item_id": "m", "delta": "second"})
    log.feed(done(type="message", id="m", content="second"))
    (item,) = log.complete()["output"]
    check_stream(log.events)
    assert item["id"] != "m" and item["content"][0]["text"] == "second"
    assert max(e["output_index"] for e in log.events if "output_index" in e) == 2


def test_a_call_made_again_by_the_next_attempt_is_another_call() -> None:
    log = Log()
    log.feed(done(**CALL, arguments="{}"))
    log.start()
    log.feed(done(**CALL, arguments="{}"))
    log.feed(done(type="function_call_output", call_id="call_1", output="ok"))
    call, output = log.complete()["output"]
    check_stream(log.events)
    assert call["call_id"] == output["call_id"] != "call_1"


def test_an_output_alone_belongs_to_the_call_of_the_attempt_before() -> None:
    log = Log()
    log.feed(done(**CALL, arguments="{}"))
    log.start()
    log.feed(done(type="function_call_output", call_id="call_1", output="ok"))
    assert log.complete()["output"][0]["call_id"] == "call_1"


def test_the_output_is_that_of_the_attempt_that_finished_alone() -> None:
    """The seed's output is the union of all attempts, with redone tool calls in it twice."""
    log = Log()
    log.feed(done(**CALL, arguments="{}"), "partial")
    log.start()
    log.feed(done(**CALL, arguments="{}"), "whole")
    output = log.complete()["output"]
    assert [item["type"] for item in output] == ["function_call", "message"]
    assert output[1]["content"][0]["text"] == "whole"


def test_usage_of_earlier_attempts_is_not_reported() -> None:
    log = Log()
    log.feed({"type": "response.completed", "response": {"usage": {"total_tokens": 5}}})
    log.start()
    log.feed("again")
    assert "usage" not in log.complete()


def test_a_handler_id_taken_before_is_mapped_the_same_way_everywhere() -> None:
    log = Log()
    log.feed(added(type="message", id="m"))
    log.start()
    log.feed(added(type="message", id="m"))
    (delta,) = log.feed({"type": "response.output_text.delta", "item_id": "m", "delta": "a"})[1:]
    (passed,) = log.feed({"type": "response.sparkle", "item_id": "m"})
    (item,) = log.complete()["output"]
    assert delta["item_id"] == passed["item_id"] == item["id"]
