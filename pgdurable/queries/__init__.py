"""The one Python door to SQL: a wrapper per SQL function, with the function's name.

Each takes a connection and keyword arguments, and answers with frozen dataclasses. A refusal
(SQLSTATE class PD) arrives as its class in errors.py; anything else as psycopg raised it.
"""

from pgdurable.queries.inspecting import (
    AttemptRecord,
    ResponseOverview,
    WorkerActivity,
    attempts,
    response_overview,
    response_overviews,
    worker_activity,
)
from pgdurable.queries.operating import (
    cancel_response,
    delete_response,
    prune_responses,
    register_worker,
    retry_response,
    unregister_worker,
    upsert_conversation_alias,
    wake,
)
from pgdurable.queries.reading import (
    existing_responses,
    get_conversation,
    get_request,
    get_response,
    list_responses,
    previous_events,
    read_chain,
    read_events,
    read_items,
    resolve_conversation_alias,
)
from pgdurable.queries.rows import Conn
from pgdurable.queries.writing import (
    Append,
    Finish,
    NewResponse,
    append_and_finish,
    append_events,
    claim_responses,
    enqueue_response,
    enqueue_responses,
    finish_responses,
    heartbeat,
    release_responses,
    take_over_responses,
)

__all__ = [
    "Append",
    "AttemptRecord",
    "Conn",
    "Finish",
    "NewResponse",
    "ResponseOverview",
    "WorkerActivity",
    "append_and_finish",
    "append_events",
    "attempts",
    "cancel_response",
    "claim_responses",
    "delete_response",
    "enqueue_response",
    "enqueue_responses",
    "existing_responses",
    "finish_responses",
    "get_conversation",
    "get_request",
    "get_response",
    "heartbeat",
    "list_responses",
    "previous_events",
    "prune_responses",
    "read_chain",
    "read_events",
    "read_items",
    "register_worker",
    "release_responses",
    "resolve_conversation_alias",
    "response_overview",
    "response_overviews",
    "retry_response",
    "take_over_responses",
    "unregister_worker",
    "upsert_conversation_alias",
    "wake",
    "worker_activity",
]
