"""How a response ends: what inner calls and the author said about it, and the terminal event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from pgdurable.envelope.kinds import INNER_TERMINAL
from pgdurable.envelope.part import new_event
from pgdurable.envelope.plain import clean_text, plain
from pgdurable.envelope.response import response_object
from pgdurable.errors import InvalidEvent
from pgdurable.models import TERMINAL_TYPES, NewEvent, Status, Terminal

_MAX_COUNT: Final = (1 << 63) - 1


class Ending:
    """Collects usage, metadata, custom outputs, model, outcome and error until the end.

    Usage adds up over inner calls; of everything else the last word counts, and the author's
    own word, said through annotate(), beats an inner model's.
    """

    def __init__(
        self, response_id: str, created_at: int, attempt: int, fields: Mapping[str, Any]
    ) -> None:
        self._response_id = response_id
        self._created_at = created_at
        self._attempt = attempt
        self._sent = fields
        self._usage: dict[str, Any] | None = None
        self._inner: dict[str, Any] = {}
        self._annotated: dict[str, Any] = {}
        self._outcome = Status.COMPLETED
        self._details: dict[str, Any] | None = None
        self._error: dict[str, Any] | None = None
        self.error_sent = False

    @property
    def outcome(self) -> Status:
        """How the response would end if its handler ended now."""
        if self.error_sent:
            return Status.FAILED
        if self._outcome is Status.COMPLETED and self._annotated.get("incomplete_details"):
            return Status.INCOMPLETE
        return self._outcome

    @property
    def trace_id(self) -> str | None:
        value = self._annotated.get("trace_id")
        return value if isinstance(value, str) else None

    def annotate(self, fields: dict[str, Any]) -> None:
        """Keep what the author says of the whole response; None says nothing.

        Raises InvalidEvent for what is not JSON or has the wrong shape.
        """
        said = {key: plain(value) for key, value in fields.items() if value is not None}
        for key, shape in (("metadata", dict), ("model", str), ("trace_id", str)):
            if key in said and not isinstance(said[key], shape):
                raise InvalidEvent(f"{key} must be {'an object' if shape is dict else 'a string'}")
        if "usage" in said:
            said["usage"] = full_usage(said["usage"])
        if "incomplete_details" in said:
            said["incomplete_details"] = _details(said["incomplete_details"])
        self._annotated |= said

    def inner(self, kind: str | None, response: dict[str, Any]) -> None:
        """Take over what an inner call's last event, or an invoke handler's result, tells."""
        if (usage := full_usage(response.get("usage"))) is not None:
            self._usage = usage if self._usage is None else _added(self._usage, usage)
        if isinstance(metadata := response.get("metadata"), dict):
            self._inner["metadata"] = self._inner.get("metadata", {}) | metadata
        if isinstance(model := response.get("model"), str) and model:
            self._inner["model"] = model
        if response.get("custom_outputs") is not None:
            self._inner["custom_outputs"] = response["custom_outputs"]
        self._outcome = _inner_outcome(kind, response)
        if self._outcome is Status.INCOMPLETE:
            self._details = _details(response.get("incomplete_details"))
        elif self._outcome is Status.FAILED and not self.error_sent:
            self._error = _error(response.get("error"))

    def error_event(self, error: object) -> list[NewEvent]:
        """The flat error event; at most one per attempt, its error is the response's."""
        if self.error_sent:
            return []
        self.error_sent = True
        self._error = _error(error)
        told = error.get("error") if isinstance(error, dict) else None
        told = told if isinstance(told, dict) else error
        param = told.get("param") if isinstance(told, dict) else None
        fields = {
            "code": self._error["code"],
            "message": self._error["message"],
            "param": param if isinstance(param, str) else None,
        }
        return [new_event("error", fields)]

    def failure(self) -> list[NewEvent]:
        """The error event of a response that an inner call has made fail."""
        return self.error_event(self._error)

    def terminal(self, output: list[tuple[int, bytes]], status: Status | None = None) -> Terminal:
        status = status or self.outcome
        details: object = None
        if status is Status.CANCELLED:
            details = {"reason": "cancelled"}
        elif status is Status.INCOMPLETE:
            details = self._annotated.get("incomplete_details") or self._details
        response = response_object(
            self._response_id,
            self._created_at,
            status,
            self._attempt,
            self._fields(),
            error=self._error if status is Status.FAILED else None,
            incomplete_details=details,
            output=[orjson.Fragment(body) for _, body in sorted(output)],
            usage=self._annotated.get("usage") or self._usage,
        )
        return Terminal(status, new_event(TERMINAL_TYPES[status], {"response": response}))

    def _fields(self) -> dict[str, Any]:
        said = {k: v for k, v in self._annotated.items() if k in ("custom_outputs", "model")}
        fields = {**self._sent, **self._inner, **said}
        sent = self._sent.get("metadata")
        metadata = dict(sent) if isinstance(sent, dict) else {}
        metadata |= self._inner.get("metadata", {}) | self._annotated.get("metadata", {})
        if self.trace_id is not None:
            metadata["trace_id"] = self.trace_id
        fields["metadata"] = metadata
        return fields


def full_usage(usage: object) -> dict[str, Any] | None:
    """Usage in the shape every client takes (docs/wire.md 2); None where no count is known."""
    if not isinstance(usage, dict):
        return None
    read = _count(usage.get("input_tokens", usage.get("prompt_tokens")))
    written = _count(usage.get("output_tokens", usage.get("completion_tokens")))
    total = _count(usage.get("total_tokens"))
    if read is None and written is None and total is None:
        return None
    more = {k: v for k, v in usage.items() if k not in ("prompt_tokens", "completion_tokens")}
    return more | {
        "input_tokens": read or 0,
        "input_tokens_details": _counts(
            usage.get("input_tokens_details", usage.get("prompt_tokens_details")),
            "cached_tokens",
            "cache_write_tokens",
        ),
        "output_tokens": written or 0,
        "output_tokens_details": _counts(
            usage.get("output_tokens_details", usage.get("completion_tokens_details")),
            "reasoning_tokens",
        ),
        "total_tokens": min((read or 0) + (written or 0), _MAX_COUNT) if total is None else total,
    }


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return min(max(int(value), 0), _MAX_COUNT)


def _counts(value: object, *required: str) -> dict[str, int]:
    known = value if isinstance(value, dict) else {}
    counted = {key: count for key, v in known.items() if (count := _count(v)) is not None}
    return dict.fromkeys(required, 0) | counted


def _added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    result = dict(one)
    for key, value in other.items():
        before = result.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            result[key] = _added(before, value)
        elif _count(value) is not None and _count(before) is not None:
            result[key] = min(before + value, _MAX_COUNT)
        else:
            result[key] = value
    return result


def _inner_outcome(kind: str | None, response: dict[str, Any]) -> Status:
    status = response.get("status")
    if status == "cancelled":
        return Status.INCOMPLETE
    if status in ("completed", "failed", "incomplete"):
        return Status(status)
    if kind in (None, TERMINAL_TYPES[Status.COMPLETED]):
        if response.get("error"):
            return Status.FAILED
        return Status.INCOMPLETE if response.get("incomplete_details") else Status.COMPLETED
    return INNER_TERMINAL[kind]


def _details(value: object) -> dict[str, Any]:
    """Why a response is incomplete; a reason is always named, clients read none as success."""
    if isinstance(value, str) and value:
        return {"reason": value}
    details = value if isinstance(value, dict) else {}
    reason = details.get("reason")
    return {**details, "reason": reason if isinstance(reason, str) and reason else "unknown"}


def _error(value: object) -> dict[str, str]:
    """An error as {code, message, type}, from an object, a text, or an event that holds either."""
    if isinstance(value, dict) and value.get("error"):
        return _error(value["error"])
    known = value if isinstance(value, dict) else {"message": value}
    message, code, kind = (known.get(key) for key in ("message", "code", "type"))
    return {
        "code": clean_text(code) if code else "server_error",
        "message": clean_text(message) if message else "The response failed.",
        "type": kind if isinstance(kind, str) and kind not in ("", "error") else "server_error",
    }
