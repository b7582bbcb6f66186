"""curl: the bytes on the wire, exit statuses included."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.clients import places
from tests.clients.serving import Server
from tests.support.grammar import check_stream

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None and not places.all_required(), reason="there is no curl"
)


def curl(url: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    command = ["curl", "--silent", "--show-error", "--max-time", "30", *options, url]
    return subprocess.run(command, capture_output=True, check=check)


def post(server: Server, body: dict[str, Any], *options: str) -> bytes:
    url = f"{server.url}/v1/responses"
    data = ["--json", json.dumps(body)]
    return curl(url, *data, *options).stdout


def events(stream: bytes) -> list[dict[str, Any]]:
    """The events of a stream that ends as it should; comments are left out."""
    *frames, done, end = [f for f in stream.split(b"\n\n") if not f.startswith(b":")]
    assert (done, end) == (b"data: [DONE]", b"")
    assert all(frame.startswith(b"data: {") for frame in frames)
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames]


def without_comments(stream: bytes) -> bytes:
    return stream.replace(b": keep-alive\n\n", b"")


def test_blocking(server: Server) -> None:
    response = json.loads(post(server, {"input": "text 3"}))
    assert response["output"][0]["content"][0]["text"] == "w0 w1 w2 "


def test_a_stream_follows_the_grammar_and_ends_with_the_connection(server: Server) -> None:
    began = time.monotonic()
    stream = post(server, {"input": "text 5 0.1", "stream": True}, "--no-buffer")
    assert time.monotonic() - began < 15, "the connection is kept open after [DONE]"
    assert check_stream(events(stream))[0]["content"][0]["text"] == "w0 w1 w2 w3 w4 "


def test_a_replay_is_the_live_stream_byte_for_byte(server: Server) -> None:
    for asked in ("text 5 0.05", "tools", "relay", "odd", "big 100000", "fail after"):
        body = {"input": asked, "stream": True, "background": True}
        live = without_comments(post(server, body))
        response_id = events(live)[0]["response"]["id"]
        url = f"{server.url}/responses/{response_id}?stream=true"
        assert without_comments(curl(url).stdout) == live


def test_a_stream_that_is_cut_goes_on_after_its_last_event(server: Server, tmp_path: Path) -> None:
    body = {"input": "text 30 0.02", "stream": True, "background": True}
    url, cut = f"{server.url}/responses", tmp_path / "cut"
    options = ["--json", json.dumps(body), "--max-time", "0.4", "--output", str(cut)]
    assert curl(url, "--no-buffer", *options, check=False).returncode == 28  # it has timed out
    whole = without_comments(cut.read_bytes())
    seen = whole[: whole.rindex(b"\n\n") + 2]
    last = json.loads(seen.rstrip().rsplit(b"\n\n", 1)[-1].removeprefix(b"data: "))
    url += f"/{last['response_id']}?stream=true&starting_after={last['sequence_number']}"
    rest = without_comments(curl(url).stdout)
    assert check_stream(events(seen + rest))[0]["content"][0]["text"].endswith("w29 ")


def test_last_event_id_is_a_cursor(server: Server) -> None:
    response_id = json.loads(post(server, {"input": "text 3"}))["id"]
    url = f"{server.url}/responses/{response_id}?stream=true"
    stream = curl(url, "--header", "Last-Event-ID: 4").stdout
    lines = stream.split(b"\n")
    assert lines[0] == b"id: 5"
    assert json.loads(lines[1].removeprefix(b"data: "))["sequence_number"] == 5


def test_a_failure_is_an_exit_status(server: Server) -> None:
    done = curl(
        f"{server.url}/responses", "--fail", "--json", '{"input": "fail after"}', check=False
    )
    assert done.returncode == 22


def test_the_headers_say_which_response_it_is(server: Server) -> None:
    for body in ({}, {"stream": True}, {"background": True}):
        sent = {"input": "text 1", **body}
        headers = post(server, sent, "--dump-header", "-", "--output", "/dev/null").decode()
        fields = dict(line.split(": ", 1) for line in headers.splitlines() if ": " in line)
        assert fields["Location"] == f"/v1/responses/{fields['X-Response-Id']}"
        assert fields["x-request-id"].startswith("req_")
