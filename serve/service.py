"""What the gateway does for a request: who asks, may they, what do they ask, and the answer whole or in pieces."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from aiflow.agents.spent import bill
from aiflow.errors import AiflowError, DeadlineError
from aiflow.graphs.steps import ran
from aiflow.serve import refusal
from aiflow.serve.config import Allowance, Config
from aiflow.serve.exchange import Exchange, Present
from aiflow.serve.forms import Chat, Completion, Sampling, read
from aiflow.serve.front import App, Scope, Send
from aiflow.serve.keys import Ring
from aiflow.serve.limits import Desk
from aiflow.serve.logs import log
from aiflow.serve.models import Model
from aiflow.serve.outcome import Outcome, costs, usage
from aiflow.serve.pictures import turns
from aiflow.serve.prompts import Talks, answers
from aiflow.serve.reading import Receive, check_type, header, read_body
from aiflow.serve.refusal import Refusal
from aiflow.serve.replies import Form, model_card
from aiflow.serve.stream import Stream
from aiflow.types import Message


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request that may be served: everything that the answer needs."""

    exchange: Exchange
    model: Model
    talks: Talks  # several prompts of one request
    given: Mapping[str, Any]
    form: Form
    stream: bool
    include_usage: bool


class Service:
    """The endpoints' work; ``ring`` holds the keys, None: nobody needs one."""

    def __init__(
        self, config: Config, models: Mapping[str, Model], ring: Ring | None, *, log_prompts: bool = False
    ) -> None:
        self._config, self._models, self._ring, self._log_prompts = config, models, ring, log_prompts
        self._desk = Desk(config.limits.concurrency)
        self._cards = {name: model_card(name, int(time.time())) for name in models}

    def models(self, request: Request) -> dict[str, Any]:
        """The list of models."""
        self.enter(request, "models")
        return {"object": "list", "data": list(self._cards.values())}

    def model(self, request: Request, name: str) -> dict[str, Any]:
        """One of them. Raises Refusal (404)."""
        self.enter(request, "model")
        if name not in self._cards:
            raise _unknown()
        return self._cards[name]

    def enter(self, request: Request, route: str) -> Allowance:
        """Notes who asks, and returns what they may use. Raises Refusal (401)."""
        exchange = Exchange.of(request.scope)
        exchange.route = route
        if self._ring is None:
            return self._config.allowance
        exchange.caller, allowance = identify(self._ring, request.scope["headers"], self._config.allowance)
        return allowance

    async def chat(self, request: Request) -> App:
        """``POST /v1/chat/completions``."""
        allowance = self.enter(request, "chat")
        body = read(Chat, await self._body(request, allowance))
        talk = turns(body.messages, self._config.limits)
        extra: dict[str, Any] = {}
        if body.logprobs:
            extra["top_logprobs"] = max(1, body.top_logprobs or 0)
        elif body.top_logprobs:
            raise Refusal(400, "top_logprobs needs logprobs: true.", code="invalid_value", param="top_logprobs")
        wanted = (body.top_logprobs or 0) if body.logprobs else None
        return await self._reply(request, self._ask(request, body, (talk,), extra, wanted))

    async def completion(self, request: Request) -> App:
        """``POST /v1/completions``."""
        allowance = self.enter(request, "completion")
        body = read(Completion, await self._body(request, allowance))
        if not all(map(str.strip, body.texts)):  # by Python's idea of white space, which is wider than a pattern's
            raise Refusal(400, "a prompt is empty; write one.", code="empty_message", param="prompt")
        talks = [(Message("user", text),) for text in body.texts]
        return await self._reply(request, self._ask(request, body, talks, {}, None))

    async def _body(self, request: Request, allowance: Allowance) -> bytes:
        exchange, limits = Exchange.of(request.scope), self._config.limits
        check_type(request.scope["headers"])
        exchange.slot = self._desk.admit(exchange.caller, allowance)
        return await read_body(request.receive, request.scope["headers"], limits.body, limits.receive)

    def _ask(self, request: Request, body: Sampling, talks: Talks, extra: dict[str, Any], wanted: int | None) -> Ask:
        exchange = Exchange.of(request.scope)
        model = self._models.get(body.model)
        if model is None:
            raise _unknown()
        exchange.model = body.model
        given = body.options(self._config.limits.max_tokens) | extra
        if extra and given.get("temperature", model.default.temperature) > 0:
            message = "log-probabilities are those of greedy answers; set temperature to 0."
            raise Refusal(400, message, code="unsupported_parameter", param="logprobs")
        assert exchange.slot is not None
        exchange.slot.reserve(given.get("max_tokens", model.default.max_tokens) * len(talks))
        if self._log_prompts:
            log.info("%s asks %s", exchange.id, [f"{turn.role}: {turn.text}" for talk in talks for turn in talk])
        return Ask(
            exchange=exchange,
            model=model,
            talks=talks,
            given=given,
            form=Form(exchange.id, body.model, chat=isinstance(body, Chat), logprobs=wanted),
            stream=bool(body.stream),
            include_usage=bool(body.stream_options and body.stream_options.include_usage),
        )

    async def _reply(self, request: Request, ask: Ask) -> App:
        bill.set(ask.exchange.bill)
        ran.set(ask.exchange.steps)
        if ask.stream:
            return Stream(self, ask)
        try:
            async with Present(request.receive, self._config.deadline):
                outcomes = await answers(ask.model, ask.talks, ask.given, ask.exchange.bill)
        except (AiflowError, TimeoutError) as error:
            raise self.refused(ask, error) from None
        for outcome in outcomes:
            self.ended(ask, outcome)
        spent = ask.exchange.bill
        return Whole(ask.form.whole(outcomes, usage(spent), costs(spent, ask.exchange.marks)))

    def refused(self, ask: Ask, error: AiflowError | TimeoutError) -> Refusal:
        """What the caller is told; the log says which kind of error it was."""
        if not isinstance(error, AiflowError):
            error = DeadlineError(f"no answer within {self._config.deadline:g} s")
        words = str(error) if self._log_prompts else type(error).__name__
        agent = getattr(error, "agent", "")
        ask.exchange.note = f" error={words}" + (f" agent={agent}" if agent else "")
        return refusal.of(error, ask.form.model, verbatim=self._log_prompts)

    def ended(self, ask: Ask, outcome: Outcome) -> None:
        """Notes how it went."""
        ask.exchange.marks = [*ask.exchange.marks, *outcome.marks]
        if self._log_prompts:
            log.info("%s answers %r", ask.exchange.id, outcome.text)

    @property
    def deadline(self) -> float:
        """Seconds for an answer."""
        return self._config.deadline

    @property
    def keep_alive(self) -> float | None:
        """Seconds of silence in a stream before a comment; None: there are none."""
        return self._config.keep_alive


def identify(ring: Ring, headers: Any, common: Allowance) -> tuple[str, Allowance]:
    """The name of the key that a request bears, and what it may use. Raises Refusal (401)."""
    scheme, _, given = header(headers, b"authorization").partition(" ")
    key = ring.find(given.strip()) if scheme.lower() == "bearer" and given else None
    if key is None:
        message = "a valid API key is needed: send it as 'Authorization: Bearer KEY'."
        raise Refusal(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
    return key.name, Allowance.model_construct(
        requests_per_minute=key.requests_per_minute or common.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute or common.tokens_per_minute,
        concurrency=key.concurrency or common.concurrency,
    )


class Whole:
    """An answer as one JSON object."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Sends it."""
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(self._body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


def _unknown() -> Refusal:
    message = "there is no such model; GET /v1/models lists them."
    return Refusal(404, message, code="model_not_found", param="model")
