"""What attempt N+1 is told about attempts 1..N; pure."""

from pgdurable.recovery.fold import StoredEvent, fold_events
from pgdurable.recovery.policy import (
    DEFAULT_MAX_BYTES,
    conversation_anchor,
    recovery_message,
    resumed_request,
    with_conversation,
)

__all__ = [
    "DEFAULT_MAX_BYTES",
    "StoredEvent",
    "conversation_anchor",
    "fold_events",
    "recovery_message",
    "resumed_request",
    "with_conversation",
]
