"""What attempt N+1 is told about attempts 1..N; pure."""

from pgdurable.worker.recovery.fold import fold_events
from pgdurable.worker.recovery.policy import (
    DEFAULT_MAX_BYTES,
    recovery_message,
    resumed_request,
    session_request,
)

__all__ = [
    "DEFAULT_MAX_BYTES",
    "fold_events",
    "recovery_message",
    "resumed_request",
    "session_request",
]
