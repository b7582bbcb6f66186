"""A handler function, and how it wants to be called; classified once, when it is registered."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pgdurable.agent.context import Context
from pgdurable.agent.request import AgentRequest

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Mode(StrEnum):
    """What a function was registered for; the names of the decorators."""

    INVOKE = "invoke"
    STREAM = "stream"
    ON_RECOVERY = "on_recovery"


class _ContextBy(StrEnum):
    NOTHING = "nothing"
    POSITION = "position"
    KEYWORD = "keyword"


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered function.

    `is_async`: calling it returns at once, with a coroutine or an async generator. Where it is
    false the call may block and belongs in a thread; it may still return an awaitable or an async
    iterable, because a decorator around an async function hides what it wraps.
    """

    function: Callable[..., Any]
    mode: Mode
    is_async: bool
    context_by: _ContextBy

    @classmethod
    def of(cls, function: Callable[..., Any], mode: Mode) -> Handler:
        """Classify `function`; TypeError says what is wrong with a signature that cannot work."""
        if not callable(function):
            raise TypeError(f"@{mode} needs a function, not {type(function).__name__}")
        code = _with_code(function)
        yields = inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code)
        if yields and mode is not Mode.STREAM:
            raise TypeError(
                f"{_name(function)} yields, but @{mode} needs a function that returns its result"
                + ("; use @stream for a generator" if mode is Mode.INVOKE else "")
            )
        is_async = inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code)
        return cls(function, mode, is_async, _how_context_is_taken(function, mode))

    @property
    def takes_context(self) -> bool:
        """Whether the function wants a Context beside the request."""
        return self.context_by is not _ContextBy.NOTHING

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return _name(self.function)

    @property
    def place(self) -> str:
        """Where the function is, for messages: its name, file and line."""
        code = getattr(_with_code(inspect.unwrap(self.function)), "__code__", None)
        where = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
        return self.name + where

    def __call__(self, request: AgentRequest, context: Context) -> Any:
        """Call the function as it wants to be called and return whatever it returns."""
        if self.context_by is _ContextBy.NOTHING:
            return self.function(request)
        if self.context_by is _ContextBy.POSITION:
            return self.function(request, context)
        return self.function(request, context=context)


def _how_context_is_taken(function: Callable[..., Any], mode: Mode) -> _ContextBy:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError as exc:
        raise TypeError(f"@{mode} cannot read the signature of {_name(function)}") from exc
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    takes_any = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    if not positional and not takes_any:
        raise _wrong_signature(function, mode, "it does not take the request")
    rest = [p for p in parameters if p not in positional[:1] and p.kind not in _VARIADIC]
    context = _context_parameter(rest)
    for parameter in rest:
        if parameter is not context and parameter.default is inspect.Parameter.empty:
            raise _wrong_signature(function, mode, f"nothing can be given for {parameter.name!r}")
    if context is None:
        return _ContextBy.NOTHING
    if context is rest[0] and context.kind in _POSITIONAL:
        return _ContextBy.POSITION
    return _ContextBy.KEYWORD


def _context_parameter(rest: list[inspect.Parameter]) -> inspect.Parameter | None:
    """Return the parameter called `context`, else a second one that must be given."""
    for parameter in rest:
        if parameter.name == "context" and parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            return parameter
    if rest and rest[0].kind in _POSITIONAL and rest[0].default is inspect.Parameter.empty:
        return rest[0]
    return None


def _wrong_signature(function: Callable[..., Any], mode: Mode, why: str) -> TypeError:
    return TypeError(
        f"@{mode} cannot call {_name(function)}{_signature_text(function)}: {why};"
        " a handler takes (request) or (request, context)"
    )


def _signature_text(function: Callable[..., Any]) -> str:
    return "(" + ", ".join(inspect.signature(function).parameters) + ")"


def _with_code(function: Callable[..., Any]) -> Any:
    """Return what carries the code flags: a callable object's `__call__`, else the function."""
    if inspect.isroutine(function) or isinstance(function, functools.partial):
        return function
    return type(function).__call__


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", None) or type(function).__name__
