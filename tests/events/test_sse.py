"""Frames, cursors and query booleans."""

from __future__ import annotations

import json
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdurable.errors import InvalidRequest
from pgdurable.events import sse

RESPONSE_ID = "resp_0123456789abcdef0123456789abcdef"
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_a_frame_is_the_stored_body_with_number_and_response_id_put_in() -> None:
    frame = sse.frame(RESPONSE_ID, 7, b'{"type":"response.created","x":1e100000}')

    assert frame == (
        b'data: {"type":"response.created","x":1e100000,"sequence_number":7,'
        b'"response_id":"resp_0123456789abcdef0123456789abcdef"}\n\n'
    )


def test_an_event_id_line_comes_first_when_asked_for() -> None:
    frame = sse.frame(RESPONSE_ID, 12, b'{"type":"x"}', event_id=True)

    assert frame.startswith(b'id: 12\ndata: {"type":"x","sequence_number":12,')
    assert frame.endswith(b"\n\n")


@given(st.lists(st.dictionaries(st.text(), JSON_VALUES)), st.booleans())
def test_many_frames_are_the_single_ones_joined_and_parse_back(
    extras: list[dict[str, object]], event_ids: bool
) -> None:
    events = [(n, orjson.dumps({"type": "x", **extra})) for n, extra in enumerate(extras)]

    joined = sse.frames(RESPONSE_ID, events, event_ids=event_ids)

    single = [sse.frame(RESPONSE_ID, n, body, event_id=event_ids) for n, body in events]
    assert joined == b"".join(single)
    for (n, body), frame in zip(events, single, strict=True):
        lines = frame.split(b"\n")
        assert lines[-2:] == [b"", b""]
        assert len(lines) == (4 if event_ids else 3)
        sent = json.loads(lines[-3].removeprefix(b"data: "))
        own = {"sequence_number": n, "response_id": RESPONSE_ID}
        assert sent == {**json.loads(body), **own}


def test_no_events_make_no_bytes() -> None:
    assert sse.frames(RESPONSE_ID, []) == b""


def test_ten_thousand_frames_are_made_in_a_few_milliseconds() -> None:
    body = orjson.dumps({"type": "response.output_text.delta", "delta": "word " * 30})
    events = [(n, body) for n in range(10_000)]

    def seconds() -> float:
        start = time.perf_counter()
        sse.frames(RESPONSE_ID, events)
        return time.perf_counter() - start

    # 0.2 us a frame on a quiet machine; the bound is for a busy one.
    assert min(seconds() for _ in range(5)) < 0.02


def test_comments_end_in_one_newline_where_events_have_ids() -> None:
    assert sse.KEEP_ALIVE == b": keep-alive\n\n"
    assert sse.KEEP_ALIVE_WITH_IDS == b": keep-alive\n"
    assert sse.DONE == b"data: [DONE]\n\n"


def test_streams_are_neither_cached_nor_buffered() -> None:
    assert sse.HEADERS == {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-cache",
        "X-Accel-Buffering": "no",
    }


@pytest.mark.parametrize(
    ("query", "headers", "cursor"),
    [
        ({}, {}, -1),
        ({"starting_after": "-1"}, {}, -1),
        ({"starting_after": "0"}, {}, 0),
        ({"starting_after": "42"}, {"Last-Event-ID": "7"}, 42),
        ({"starting_after": "now"}, {"Last-Event-ID": "7"}, "now"),
        ({"starting_after": "9223372036854775807"}, {}, 2**63 - 1),
        ({}, {"Last-Event-ID": "7"}, 7),
        ({}, {"last-event-id": "7"}, 7),
        ({}, {"Last-Event-ID": ""}, -1),
        ({"include_obfuscation": "rubbish", "include[]": "x"}, {}, -1),
    ],
)
def test_the_cursor_is_the_query_then_the_header_then_the_start(
    query: dict[str, str], headers: dict[str, str], cursor: int | str
) -> None:
    assert sse.cursor(query, headers) == cursor


@pytest.mark.parametrize(
    "rubbish",
    [
        *(
            "",
            "abc",
            "-2",
            "--1",
            "1.5",
            "1e3",
            "+1",
            " 1",
            "1\n",
            "1_0",
            "٣",
            "0x1",
            "NOW",
            "null",
        ),
        *("9223372036854775808", "9" * 10_000),
    ],
)
def test_any_other_starting_after_is_refused(rubbish: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sse.cursor({"starting_after": rubbish}, {})

    assert refused.value.param == "starting_after"
    assert len(str(refused.value)) < 200


def test_a_rubbish_last_event_id_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidRequest) as refused:
        sse.cursor({}, {"Last-Event-ID": "abc"})

    assert refused.value.param == "Last-Event-ID"


@pytest.mark.parametrize(
    ("sent", "value"),
    [("true", True), ("1", True), ("True", True), ("false", False), ("0", False)],
)
def test_booleans_are_words_or_digits(sent: str, value: bool) -> None:
    assert sse.boolean({"stream": sent}, "stream", default=not value) is value


def test_an_absent_boolean_is_its_default() -> None:
    assert sse.boolean({}, "stream") is False
    assert sse.boolean({}, "stream", default=True) is True


@pytest.mark.parametrize("sent", ["", "yes", "2", "truee"])
def test_any_other_boolean_is_refused(sent: str) -> None:
    with pytest.raises(InvalidRequest, match="must be true or false") as refused:
        sse.boolean({"stream": sent}, "stream")

    assert refused.value.param == "stream"
