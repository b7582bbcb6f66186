"""config: settings that cannot work are refused when they are made."""

from __future__ import annotations

from typing import Any

import pytest

from pgdurable import LongRunningAgentServer, LongRunningSettings


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"task_timeout_seconds": "5"}, "task_timeout_seconds must be a number, not '5'"),
        ({"task_timeout_seconds": True}, "task_timeout_seconds must be a number, not True"),
        ({"task_timeout_seconds": float("nan")}, "must be greater than 0, not nan"),
        ({"task_timeout_seconds": 0}, "must be greater than 0, not 0"),
        ({"concurrency": 2.5}, "concurrency must be a whole number, not 2.5"),
        ({"concurrency": -1}, "concurrency must be greater than 0, not -1"),
        ({"drain_timeout_seconds": -1.0}, "drain_timeout_seconds must be greater than 0"),
        ({"queue": None}, "queue must be a string, not None"),
        ({"on_disconnect": "maybe"}, "must be 'cancel' or 'continue', not 'maybe'"),
        ({"tools": "x"}, "tools must be 'function_call' or 'mcp_call', not 'x'"),
        ({"heartbeat_interval_seconds": 10}, "must be greater than heartbeat_interval_seconds"),
        ({"cleanup_timeout_seconds": 5}, "cleanup_timeout_seconds must be greater than"),
        ({"stale_scan_jitter_fraction": 1}, "must be at least 0 and below 1"),
    ],
)
def test_what_cannot_work_is_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LongRunningSettings(**setting)
    with pytest.raises(ValueError, match=said):
        LongRunningAgentServer(**setting)


def test_whole_numbers_will_do_for_times_and_zero_where_it_means_something() -> None:
    settings = LongRunningSettings(
        task_timeout_seconds=60,
        deadline_seconds=5,
        drain_timeout_seconds=0,
        stale_scan_jitter_fraction=0,
    )
    assert settings.task_timeout_seconds == 60
