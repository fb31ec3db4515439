"""Spans of what agents do (``aiflow.tracing``), by OpenTelemetry's conventions for generative models where they exist.

Decorators for the asker's side, and ``work`` for the worker's. Text is in a span only where prompts may be.
"""

import functools
import json
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing, nullcontext
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from aiflow import tracing
from aiflow.tracing import Span, Value
from aiflow.types import Answer, Options, conversation

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent
    from aiflow.agents.call import Call as Generation

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound=Answer)
_UNCOUNTED = nullcontext()
_LONGEST = 100  # characters of a model's name
_PLAIN = {field.name for field in fields(Answer)}


Call = Callable[Concatenate["Agent", P], Coroutine[Any, Any, A]]
Stream = Callable[Concatenate["Agent", P], AsyncGenerator[T]]


def call(verb: str, *, counted: bool = False) -> "Callable[[Call[P, A]], Call[P, A]]":
    """For a method of an agent that gives an answer: a span ``verb NAME``. ``counted``: by its tally as well."""

    def around(method: "Call[P, A]") -> "Call[P, A]":
        async def run(self: "Agent", /, *args: P.args, **how: P.kwargs) -> A:
            if not tracing.on() and not counted:
                return await method(self, *args, **how)
            with self.tally if counted else _UNCOUNTED, _begun(self, verb, args, how) as span:
                answer = await method(self, *args, **how)
                if span:
                    span.set(_ended(answer))
            return answer

        functools.update_wrapper(run, method)
        return run

    return around


def stream(verb: str, *, counted: bool = False) -> "Callable[[Stream[P, T]], Stream[P, T]]":
    """For a method that gives pieces and then an answer: a span that ends with the last of them."""

    def around(method: "Stream[P, T]") -> "Stream[P, T]":
        def run(self: "Agent", /, *args: P.args, **how: P.kwargs) -> AsyncGenerator[T]:
            pieces = method(self, *args, **how)
            if counted:
                pieces = _counted(self, pieces)
            return _followed(self, verb, pieces, args, how) if tracing.on() else pieces

        functools.update_wrapper(run, method)
        return run

    return around


async def _counted(agent: "Agent", pieces: AsyncGenerator[T]) -> AsyncGenerator[T]:
    with agent.tally:
        async with aclosing(pieces) as counted:
            async for piece in counted:
                yield piece


async def _followed(
    agent: "Agent", verb: str, pieces: AsyncGenerator[T], args: tuple[Any, ...], how: Mapping[str, Any]
) -> AsyncGenerator[T]:
    span, began = _begun(agent, verb, args, how), time.perf_counter()  # begins with the first piece that is asked for
    first = True

    def look(piece: T) -> None:
        nonlocal first
        if isinstance(piece, Answer):
            span.set(_ended(piece))
            span.end()  # whoever has the answer need not ask for what comes after it
        elif first:
            first = False
            span.set({"gen_ai.response.time_to_first_chunk": time.perf_counter() - began})

    async with aclosing(tracing.follow(span, pieces, look)) as followed:
        async for piece in followed:
            yield piece


def _begun(agent: "Agent", verb: str, args: tuple[Any, ...], how: Mapping[str, Any]) -> Span:
    if not tracing.on():
        return tracing.NOTHING
    others = [other.name for name in ("server", "judges") for other in _several(how.get(name))]
    values: dict[str, Value | None] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "aiflow",
        "gen_ai.agent.name": agent.name,
        "gen_ai.request.model": model_name(agent.facts.get("model")),
        "aiflow.node": agent.node,
        "aiflow.sender": how.get("sender") or agent.node,
        "aiflow.with": tuple(others) or None,
        "aiflow.deadline": how.get("deadline"),
    }
    if tracing.prompts() and args:
        values["gen_ai.input.messages"] = _messages(args[-1] if verb == "tofc" else args[0])
    return tracing.span(f"{verb} {agent.name}", values, kind="client")


def _several(value: Any) -> tuple[Any, ...]:
    return () if value is None else tuple(value) if isinstance(value, list | tuple) else (value,)


def _ended(answer: Answer) -> dict[str, Value | None]:
    values: dict[str, Value | None] = {
        "gen_ai.usage.input_tokens": answer.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": answer.usage.completion_tokens,
        "gen_ai.response.finish_reasons": (answer.finish,),
        "aiflow.model.seconds": answer.usage.seconds,
        **{f"aiflow.link.{link}.bytes": count for link, count in answer.bytes.items()},
    }
    for field in fields(answer):  # what shared inferences count beside
        value = getattr(answer, field.name)
        if field.name in _PLAIN:
            continue
        if isinstance(value, bool | int | float | str):
            values[f"aiflow.{field.name}"] = value
        elif isinstance(value, Mapping):
            values |= {f"aiflow.{field.name}.{key}": number for key, number in value.items()}
    if tracing.prompts():
        values["gen_ai.output.messages"] = json.dumps([{"role": "assistant", "content": answer.text}])
    return values


def _messages(asked: Any) -> str:
    return json.dumps([{"role": turn.role, "content": turn.text} for turn in conversation(asked)])


def model_name(model: Any) -> str | None:
    """A model as spans may show it: without keys in an address, and without the words of a scripted one."""
    if not isinstance(model, str) or not model:
        return None
    if model.startswith("scripted:"):
        return "scripted"
    scheme, mark, rest = model.partition("://")
    return (scheme + mark + rest.rpartition("@")[2] if mark else model)[:_LONGEST]


def work(above: str, model: Any, options: Options) -> Span:
    """A worker's part of a request; ``above`` is what came with it."""
    if not tracing.on():
        return tracing.NOTHING
    values: dict[str, Value | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aiflow",
        "gen_ai.request.model": model_name(model),
        "gen_ai.request.max_tokens": options.max_tokens,
        "gen_ai.request.temperature": float(options.temperature),
        "gen_ai.request.top_p": float(options.top_p),
        "gen_ai.request.seed": options.seed,
    }
    return tracing.span(f"chat {values['gen_ai.request.model'] or ''}".rstrip(), values, kind="server", above=above)


async def worked(span: Span, call: "Generation") -> AsyncGenerator[str]:
    """The pieces of a generation; the span ends with it and holds what came of it."""

    async def pieces() -> AsyncGenerator[str]:
        async with aclosing(aiter(call)) as texts:
            async for text in texts:
                if len(call.pieces) == 1:
                    span.event("first token")
                yield text
        if call.answer is not None:
            usage = call.answer.usage
            values: dict[str, Value | None] = {
                "gen_ai.usage.input_tokens": usage.prompt_tokens,
                "gen_ai.usage.output_tokens": usage.completion_tokens,
                "gen_ai.response.finish_reasons": (call.answer.finish,),
            }
            span.set(values)

    async with aclosing(tracing.follow(span, pieces())) as texts:
        async for text in texts:
            yield text
