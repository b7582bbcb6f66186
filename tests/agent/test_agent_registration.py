"""Decorators: what may be registered, once, and how it is called afterwards."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import pgdurable
from pgdurable import Agent, AgentRequest, Context
from pgdurable.agent import Handler, Mode
from pgdurable.errors import ConfigurationError

REQUEST = AgentRequest({"input": "hi"})
CONTEXT = Context(response_id="resp_1", attempt=1, conversation_id="c")


def classified(function: Callable[..., Any], mode: Mode = Mode.INVOKE) -> Handler:
    return Handler.of(function, mode)


async def coroutine(request: AgentRequest) -> str:
    return "a"


async def async_generator(request: AgentRequest) -> AsyncIterator[str]:
    yield "a"


def generator(request: AgentRequest) -> Iterator[str]:
    yield "a"


def plain(request: AgentRequest) -> str:
    return "a"


class Callables:
    async def __call__(self, request: AgentRequest) -> str:
        return "a"

    async def method(self, request: AgentRequest, context: Context) -> str:
        return "a"


def test_decorators_work_with_and_without_parentheses_and_give_the_function_back() -> None:
    agent = Agent("a")

    assert agent.stream(async_generator) is async_generator
    assert agent.invoke()(coroutine) is coroutine
    assert agent.stream.handler is not None
    assert agent.stream.handler.function is async_generator
    assert agent.invoke.handler is not None
    assert agent.invoke.handler.function is coroutine


@pytest.mark.parametrize("mode", list(Mode))
def test_each_decorator_can_be_used_once(mode: Mode) -> None:
    agent = Agent()
    getattr(agent, mode)()(plain)

    line = plain.__code__.co_firstlineno
    once = rf"^{mode} decorator can only be used once: it has plain \({__file__}:{line}\), and now"
    with pytest.raises(ValueError, match=once):
        getattr(agent, mode)(plain)


def test_recovery_may_be_set_later_and_a_function_decides() -> None:
    agent = Agent()
    assert agent.recovery == "prose"
    agent.recovery = "restart"
    assert agent.recovery == "restart"
    agent.recovery = plain
    assert agent.recovery is plain and agent.on_recovery.handler is not None


@pytest.mark.parametrize("how", ["again", None, 7])
def test_a_recovery_that_does_not_exist_is_refused_with_those_that_do(how: Any) -> None:
    with pytest.raises(ConfigurationError, match="'prose', 'session', 'restart', or a function"):
        Agent(recovery=how)


def test_the_module_level_decorators_are_the_default_agents() -> None:
    assert pgdurable.stream is pgdurable.default_agent.stream
    assert pgdurable.invoke is pgdurable.default_agent.invoke
    assert pgdurable.on_recovery is pgdurable.default_agent.on_recovery
    assert pgdurable.default_agent.name == "agent"


def test_each_mode_prefers_its_own_handler() -> None:
    agent = Agent()
    agent.stream(async_generator)
    agent.invoke(coroutine)

    assert agent.handler_for(stream=True).function is async_generator
    assert agent.handler_for(stream=False).function is coroutine


@pytest.mark.parametrize("mode", [Mode.STREAM, Mode.INVOKE])
def test_one_handler_alone_serves_every_mode(mode: Mode) -> None:
    agent = Agent()
    getattr(agent, mode)(plain)

    assert agent.handler_for(stream=True) is agent.handler_for(stream=False)


def test_an_agent_without_handlers_says_what_to_do() -> None:
    agent = Agent("shop")
    agent.on_recovery(plain)

    with pytest.raises(ConfigurationError, match=r"'shop' has no handler: .*@stream\(\)"):
        agent.handler_for(stream=True)


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (async_generator, True),
        (coroutine, True),
        (generator, False),
        (plain, False),
        (functools.partial(async_generator), True),
        (functools.partial(plain), False),
        (Callables(), True),
        (Callables().method, True),
    ],
)
def test_a_stream_handler_is_async_or_belongs_in_a_thread(
    function: Callable[..., Any], is_async: bool
) -> None:
    assert classified(function, Mode.STREAM).is_async is is_async


def test_a_wrapper_around_an_async_function_keeps_its_signature() -> None:
    async def wanted(request: AgentRequest, context: Context) -> str:
        return context.response_id

    @functools.wraps(wanted)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return wanted(*args, **kwargs)

    handler = classified(wrapper)
    result = handler(REQUEST, CONTEXT)

    assert not handler.is_async
    assert inspect.iscoroutine(result)
    result.close()


def with_second(request: AgentRequest, ctx: Context) -> Any:
    return ctx


def with_positional_only(request: AgentRequest, context: Context, /) -> Any:
    return context


def with_context_later(request: AgentRequest, style: str = "x", context: Any = None) -> Any:
    return context if style == "x" else None


def with_keyword(request: AgentRequest, *, context: Context) -> Any:
    return context


def with_anything(*args: Any, context: Any = None) -> Any:
    return context if args == (REQUEST,) else None


@pytest.mark.parametrize(
    "function",
    [with_second, with_positional_only, with_context_later, with_keyword, with_anything],
)
def test_a_context_is_given_where_it_is_wanted(function: Callable[..., Any]) -> None:
    handler = classified(function)

    assert handler.takes_context
    assert handler(REQUEST, CONTEXT) is CONTEXT


def with_default(request: AgentRequest, style: str = "x") -> Any:
    return style


def with_star(*args: Any) -> Any:
    return len(args)


def with_star_star(request: AgentRequest, **kwargs: Any) -> Any:
    return kwargs


@pytest.mark.parametrize(
    ("function", "result"),
    [(plain, "a"), (with_default, "x"), (with_star, 1), (with_star_star, {})],
)
def test_no_context_is_given_where_it_is_not_wanted(
    function: Callable[..., Any], result: Any
) -> None:
    handler = classified(function)

    assert not handler.takes_context
    assert handler(REQUEST, CONTEXT) == result


def without_request() -> None: ...


def with_three(request: AgentRequest, context: Context, more: int) -> None: ...


def with_required_keyword(request: AgentRequest, *, color: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (without_request, r"without_request\(\): it does not take the request"),
        (with_three, r"with_three\(request, context, more\): nothing can be given for 'more'"),
        (with_required_keyword, "nothing can be given for 'color'"),
    ],
)
def test_a_signature_that_cannot_work_is_refused_at_once(
    function: Callable[..., Any], why: str
) -> None:
    with pytest.raises(TypeError, match=why):
        classified(function, Mode.STREAM)


@pytest.mark.parametrize("function", [generator, async_generator])
def test_an_invoke_handler_may_not_yield(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"yields, .* use @stream for a generator"):
        Agent().invoke(function)


def test_a_recovery_function_may_not_yield() -> None:
    with pytest.raises(TypeError, match="@on_recovery needs a function that returns"):
        Agent().on_recovery(generator)


def test_what_is_no_function_is_refused() -> None:
    not_a_function: Any = "hello"

    with pytest.raises(TypeError, match="@stream needs a function, not str"):
        Agent().stream(not_a_function)


def test_a_refused_function_does_not_use_the_decorator_up() -> None:
    agent = Agent()
    with pytest.raises(TypeError):
        agent.invoke(without_request)

    agent.invoke(plain)

    assert agent.invoke.handler is not None
    assert agent.invoke.handler.name == "plain"
