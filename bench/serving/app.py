"""The web application of `serving`: OpenAI's chat completions in front of aiflow agents. Knows no processes.

A client that goes away ends its generation. In a stream the log-probabilities come with the last chunk. ``token`` is
the likeliest one at each place, which at temperature 0 is the one that was said.
"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aiflow import connect
from aiflow.errors import AiflowError, InputError, UnknownAgentError
from aiflow.types import Answer, Delta, Options

T = TypeVar("T")
_GONE = 499  # as nginx logs a client that went away
_NO_PROBABILITY = -9999.0  # as OpenAI says it
_HOME = {"nodes": {"here": "cloud"}}


class Ask(BaseModel):
    """What is read of a request; other fields are passed over, but count in its hash."""

    model_config = ConfigDict(extra="ignore")
    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: str | list[str] | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    n: int = Field(default=1, le=1)
    stream: bool = False
    stream_options: dict[str, Any] | None = None

    def options(self) -> Options:
        """Raises InputError."""
        if self.top_logprobs and not self.logprobs:
            raise InputError("top_logprobs needs logprobs: true.")
        return Options(
            max_tokens=self.max_completion_tokens or self.max_tokens or Options.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            top_logprobs=max(self.top_logprobs, int(self.logprobs)),
        )


class Log:
    """A line when a request has come and a line when it has ended, each written at once."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._numbers = count(sum(1 for _ in path.open("rb")))  # also after a restart each has its own

    def begin(self, body: Any) -> int:
        """Writes what was asked: the hash of all but the form of the reply; returns the request's number."""
        known = body if isinstance(body, dict) else {"body": repr(body)}
        what = {key: value for key, value in known.items() if key not in ("stream", "stream_options")}
        sha = sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        number = next(self._numbers)
        self._write({"number": number, "sha": sha, "model": str(known.get("model", "")), "at": time.time()})
        return number

    def end(self, number: int, status: int, *, completed: bool) -> None:
        """Writes how it ended."""
        self._write({"number": number, "status": status, "completed": completed})

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row).encode() + b"\n")


def serve(
    port: int,
    log: Path,
    models: Sequence[str],
    delay: float,
    *,
    choices: Mapping[str, Sequence[str]] = MappingProxyType({}),
    keep: int | None = None,
) -> None:
    """Loads the models, prints the port and serves until a signal ends it."""
    home = connect(_HOME, local=True)
    for model in models:
        name, equals, source = model.partition("=")
        home.agent(name if equals else model.removeprefix("aiflow:"), node="here", model=source if equals else model)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        print(listener.getsockname()[1], flush=True)
        yield
        for agent in home.agents.values():
            await agent.close()

    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    app = FastAPI(lifespan=lifespan)
    service = Service(home.agents, Log(log), delay, choices, keep)
    app.add_api_route("/v1/models", service.models, methods=["GET"])
    app.add_api_route("/v1/chat/completions", service.complete, methods=["POST"], response_model=None)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


class Service:
    """The two routes."""

    def __init__(
        self, agents: Any, log: Log, delay: float, choices: Mapping[str, Sequence[str]], keep: int | None
    ) -> None:
        self._agents, self._log, self._delay, self._choices, self._keep = agents, log, delay, choices, keep

    async def models(self) -> dict[str, Any]:
        """What can be asked."""
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "aiflow"} for name in self._agents]
        return {"object": "list", "data": data}

    async def complete(self, request: Request) -> Response:
        """One completion."""
        body: Any = await request.body()
        try:
            body = json.loads(body)
            number = self._log.begin(body)
        except ValueError as error:
            self._log.end(self._log.begin(body), 400, completed=False)
            return _refusal(400, str(error))
        try:
            ask = Ask.model_validate(body)
            if ask.model not in self._agents:
                raise UnknownAgentError(f"there is no model {ask.model!r}; see /v1/models")
            options = ask.options()
            if ask.stream:
                events = self._events(ask, options, number)
                first = await _unless_gone(request, anext(events))  # raises here what can be said with a status
                if first is not None:
                    return StreamingResponse(self._streamed(first, events, number), media_type="text/event-stream")
                self._log.end(number, _GONE, completed=False)
                return Response(status_code=_GONE)
            answer = await _unless_gone(request, self._answer(ask, options))
        except (AiflowError, ValidationError) as error:
            status = 404 if isinstance(error, UnknownAgentError) else 400
            status = status if isinstance(error, InputError | UnknownAgentError | ValidationError) else 500
            self._log.end(number, status, completed=False)
            return _refusal(status, " ".join(str(error).split()))
        self._log.end(number, 200 if answer else _GONE, completed=answer is not None)
        return JSONResponse(_whole(ask, answer, number)) if answer else Response(status_code=_GONE)

    async def _answer(self, ask: Ask, options: Options) -> Answer:
        await asyncio.sleep(self._delay)
        agent, talk = self._agents[ask.model], cut(ask.messages, self._keep)
        if ask.model not in self._choices:
            answer: Answer = await agent.ask(talk, options=options)
            return answer
        first: Answer = await agent.ask(talk, options=replace(options, max_tokens=1, temperature=0.0, top_logprobs=20))
        return replace(first, text=chosen(first, self._choices[ask.model]), finish="stop")

    async def _events(self, ask: Ask, options: Options, number: int) -> AsyncGenerator[str]:
        if ask.model in self._choices:
            items = _single(self._answer(ask, options))
        else:
            await asyncio.sleep(self._delay)
            items = self._agents[ask.model].stream(cut(ask.messages, self._keep), options=options)
        async with aclosing(items):
            async for item in items:
                if not isinstance(item, Answer):
                    yield _event(ask, number, {"content": item.text})
                    continue
                yield _event(ask, number, {}, finish=item.finish, logprobs=_logprobs(item))
                if (ask.stream_options or {}).get("include_usage"):
                    yield _event(ask, number, None, usage=_usage(item))
        yield "data: [DONE]\n\n"

    async def _streamed(self, first: str, events: AsyncGenerator[str], number: int) -> AsyncGenerator[str]:
        completed, status = False, _GONE
        try:
            async with aclosing(events):
                yield first
                async for event in events:
                    yield event
            completed, status = True, 200
        except AiflowError as error:
            status = 500
            yield f"data: {json.dumps({'error': {'message': str(error)}})}\n\n"
        finally:
            self._log.end(number, status, completed=completed)


async def _single(answer: Awaitable[Answer]) -> AsyncGenerator[Delta | Answer]:
    whole = await answer
    yield Delta(text=whole.text)
    yield whole


def cut(messages: Sequence[dict[str, Any]], keep: int | None) -> list[dict[str, Any]]:
    """The end of a talk: the last messages, the first of them from within, with ``keep`` characters of text in all."""
    if keep is None:
        return list(messages)
    kept: list[dict[str, Any]] = []
    for message in reversed(messages):
        text = message.get("content")
        if not isinstance(text, str):  # parts with images stay whole
            kept.append(message)
        elif keep > 0:
            kept.append({**message, "content": text[-keep:]})
            keep -= len(text)
    return kept[::-1]


def chosen(first: Answer, choices: Sequence[str]) -> str:
    """The choice that the likeliest first token begins, brackets aside; the model's own text if none of 20 does."""
    for token, _ in first.logprobs[0] if first.logprobs else ():
        for choice in choices:
            if token.strip() and choice.strip("[] ").startswith(token.strip()):
                return choice
    return first.text


async def _unless_gone(request: Request, work: Awaitable[T]) -> T | None:
    """The result of ``work``, or None if the client has gone before."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        watch.cancel()


def _refusal(status: int, words: str) -> JSONResponse:
    return JSONResponse({"error": {"message": words, "type": "invalid_request_error"}}, status_code=status)


def _head(ask: Ask, number: int, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": int(time.time()), "model": ask.model}


def _whole(ask: Ask, answer: Answer, number: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text}
    choice = {"index": 0, "message": message, "finish_reason": answer.finish, "logprobs": _logprobs(answer)}
    return {**_head(ask, number, "chat.completion"), "choices": [choice], "usage": _usage(answer)}


def _event(ask: Ask, number: int, delta: Any, *, finish: str | None = None, logprobs: Any = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
    chunk = _head(ask, number, "chat.completion.chunk") | {"choices": [] if delta is None else [choice], **more}
    return f"data: {json.dumps(chunk)}\n\n"


def _usage(answer: Answer) -> dict[str, int]:
    prompt, completion = answer.usage.prompt_tokens, answer.usage.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _logprobs(answer: Answer) -> dict[str, Any] | None:
    if not answer.logprobs:
        return None
    content = []
    for place in answer.logprobs:
        top = [{"token": text, "logprob": p, "bytes": list(text.encode())} for text, p in place]
        head = top[0] if top else {"token": "", "logprob": _NO_PROBABILITY, "bytes": None}
        content.append({**head, "top_logprobs": top})
    return {"content": content, "refusal": None}
