"""A process is killed in mid-stream."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from typing import Any

from tests.clients.openai_python.harness import connect, fleet, numbers, plain, replay, text


def kill_the_writer(said: str) -> bool:
    """SIGKILL the process that has introduced itself, once it has said a few words."""
    found = re.match(r"pid (\d+) (?:w\d+ ){4}", said)
    if found is None:
        return False
    os.kill(int(found[1]), signal.SIGKILL)
    return True


def living(urls: list[str]) -> str:
    """The first one that answers: another scenario may have killed the others."""
    for url in urls:
        try:
            with urllib.request.urlopen(f"{url}/health"):
                return url
        except OSError:
            continue
    raise AssertionError("all workers are dead")


def check_second_attempt(log: list[Any]) -> None:
    assert numbers(log) == list(range(len(log)))
    kinds = [event.type for event in log]
    assert kinds.count("response.created") == 1 and kinds[-1] == "response.completed"
    assert kinds.count("response.resumed") == 1
    final = log[-1].response
    assert re.fullmatch(r"pid \d+ w0 w1 w2 w3 w4 ", final.output_text), final.output_text
    assert final.to_dict()["attempt_number"] == 2


@fleet
def worker_killed_while_the_helper_reads(setting: Any) -> None:
    client = connect(setting["front"])
    seen: list[Any] = []
    killed = False
    with client.responses.stream(model="m", input="who 5 0.02", background=True) as stream:
        for event in stream:
            seen.append(event)
            killed = killed or kill_the_writer(text(seen))
        final = stream.get_final_response()
    assert killed and re.fullmatch(r"pid \d+ w0 w1 w2 w3 w4 ", final.output_text)
    assert numbers(seen) == list(range(len(seen)))
    check_second_attempt(replay(client, final.id))


@fleet
def process_killed_while_a_client_reads_from_it(setting: Any) -> None:
    seen: list[Any] = []
    client = connect(living(setting["workers"]))
    asked = {"model": "m", "input": "who 5 0.02", "background": True, "stream": True}
    killed = False
    try:
        for event in client.responses.create(**asked):
            seen.append(event)
            killed = killed or kill_the_writer(text(seen))
    except Exception as exc:
        assert killed, exc
    client = connect(setting["front"])
    response_id, last = seen[0].response.id, seen[-1].sequence_number
    with client.responses.stream(response_id=response_id, starting_after=last) as stream:
        rest = [event for event in stream]
        final = stream.get_final_response()
    arguments = {"stream": True, "starting_after": last}
    again = list(client.responses.retrieve(response_id, **arguments))
    log = replay(client, response_id)
    assert numbers(rest) == numbers(again) and plain(seen + again) == plain(log)
    assert final.output_text == log[-1].response.output_text
    check_second_attempt(log)
