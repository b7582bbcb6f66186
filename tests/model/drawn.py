"""What the machine's rules draw from: few values each, so that they meet often."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from hypothesis import strategies as st

from pgdurable.models import Status

Kind = Literal["delta", "added", "done"]
Limits = dict[str, Any]
KINDS: list[Kind] = ["added", "added", "done", "delta"]

PICK = st.integers(0, 11)
PICKS = st.lists(PICK, min_size=1, max_size=3)
EVENTS = st.lists(st.sampled_from(KINDS), max_size=4)
WORKERS = st.sampled_from(["a", "b", "c"])
LIMITS = st.sampled_from([1, 2, 100])
CONVERSATIONS = st.sampled_from(["c", "c", "d", None])
KEYS = st.sampled_from([None, None, "k", "l"])
INPUTS = st.sampled_from(["x", "y"])
ENDS = st.sampled_from([status for status in Status if status.is_terminal])
PAST_LEASE = 11  # seconds
DEADLINE = timedelta(seconds=20)
DEADLINES = st.sampled_from([None, None, DEADLINE])
SECONDS = st.sampled_from([PAST_LEASE, 1, 4, 0, 31])
ATTEMPTS = st.integers(1, 3)
LIMITS_OF_SOME = st.lists(
    st.fixed_dictionaries({"max_attempts": ATTEMPTS, "deadline": DEADLINES}), max_size=3
)
