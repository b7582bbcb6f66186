"""Bytes from a client -> a validated request, and what it points back to.

parse   what was sent, checked; what a response echoes of it (pure)
anchor  which conversation it means (pure)
chain   earlier items and responses, put where the handler looks for them
"""

from pgdurable.requests.anchor import conversation_anchor, with_conversation
from pgdurable.requests.parse import (
    ResponseRequest,
    check_fields,
    parse_request,
    references,
    response_fields,
    with_history,
)

__all__ = [
    "ResponseRequest",
    "check_fields",
    "conversation_anchor",
    "parse_request",
    "references",
    "response_fields",
    "with_conversation",
    "with_history",
]
