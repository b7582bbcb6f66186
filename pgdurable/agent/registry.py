"""Where an author's functions are registered: an Agent, or the module-level decorators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, overload

from pgdurable.agent.handler import Handler, Mode
from pgdurable.errors import ConfigurationError

Recovery = Literal["prose", "session", "restart"]
Function = TypeVar("Function", bound=Callable[..., Any])


class Registration:
    """A decorator that takes one function and gives it back unchanged; once per agent."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self.handler: Handler | None = None

    @overload
    def __call__(self, function: None = None, /) -> Callable[[Function], Function]: ...
    @overload
    def __call__(self, function: Function, /) -> Function: ...
    def __call__(self, function: Any = None, /) -> Any:
        """Register `function`, or return the decorator that will.

        Raises ValueError at the second use and TypeError for a function that cannot be called
        with (request) or (request, context).
        """
        if function is None:
            return self._register
        return self._register(function)

    def _register(self, function: Function) -> Function:
        handler = Handler.of(function, self._mode)
        if self.handler is not None:
            raise ValueError(
                f"{self._mode} decorator can only be used once: it has {self.handler.place},"
                f" and now gets {handler.place}. A second agent is an Agent(name) of its own"
            )
        self.handler = handler
        return function


class Agent:
    """At most one function for each of `@stream`, `@invoke` and `@on_recovery`.

    `name` is what workers and views call the agent, and its default model name; processes with
    agents of one name run each other's responses. `recovery` says how a response goes on when the
    process that ran it has died:

    - "prose": the original input and a note of what had been streamed, on a rotated conversation;
    - "session": one note, on the same conversation: the agent's own session store has the rest;
    - "restart": the original request again; what the handler says again is recognised, so that
      readers see nothing but a pause, as long as it says the same;
    - a function, as `@on_recovery` would register it.
    """

    def __init__(
        self, name: str = "agent", *, recovery: Recovery | Callable[..., Any] = "prose"
    ) -> None:
        self.name = name
        self.invoke = Registration(Mode.INVOKE)
        self.stream = Registration(Mode.STREAM)
        self.on_recovery = Registration(Mode.ON_RECOVERY)
        self._recovery: Recovery = "prose"
        self.recovery = recovery

    @property
    def recovery(self) -> Recovery | Callable[..., Any]:
        """How a response goes on; a function that is registered decides, whatever was set.

        May be set until a server of the agent starts; ConfigurationError for what is no way.
        """
        decides = self.on_recovery.handler
        return self._recovery if decides is None else decides.function

    @recovery.setter
    def recovery(self, how: Recovery | Callable[..., Any]) -> None:
        if callable(how):
            self.on_recovery(how)
        elif how in get_args(Recovery):
            self._recovery = how
        else:
            choices = ", ".join(map(repr, get_args(Recovery)))
            raise ConfigurationError(
                f"recovery must be one of {choices}, or a function, not {how!r}"
            )

    def handler_for(self, *, stream: bool) -> Handler:
        """Return the handler that serves a request; one alone serves every mode.

        Raises ConfigurationError where there is none.
        """
        first, second = self.invoke.handler, self.stream.handler
        if stream:
            first, second = second, first
        handler = first or second
        if handler is None:
            raise ConfigurationError(
                f"Agent {self.name!r} has no handler: decorate a function with"
                " @stream() or @invoke(), and import the module that does so."
            )
        return handler


default_agent = Agent()

invoke = default_agent.invoke
stream = default_agent.stream
on_recovery = default_agent.on_recovery
