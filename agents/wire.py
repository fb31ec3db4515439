"""The four messages between an asker and an agent, on the core codec: ``ask``, ``delta``, ``answer``, ``error``.

An asker sends one ``ask`` and gets any number of ``delta`` and then exactly one ``answer`` or ``error``. Errors travel
by class name out of a fixed table, never pickled. Nothing is known here of models, links or Ray.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aiflow import codec, errors
from aiflow.errors import AiflowError, BackendError, InputError, MessageError
from aiflow.types import Answer, Finish, Image, Message, Options, Role, Usage

ERRORS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, AiflowError)}
_LONGEST_ERROR = 2000  # characters

Count = Annotated[int, Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LogProb = Annotated[float, Field(le=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Turn(_Strict):
    role: Role
    text: str
    images: list[bytes]


class _Options(_Strict):
    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: list[str]
    top_logprobs: int = 0


class _Usage(_Strict):
    requests: Count
    prompt_tokens: Count
    completion_tokens: Count
    seconds: Seconds


class _Message(_Strict):
    id: Annotated[str, Field(max_length=64)]


class _Ask(_Message):
    id: Annotated[str, Field(min_length=1, max_length=64)]
    messages: Annotated[list[_Turn], Field(min_length=1)]
    options: _Options
    trace: Annotated[str, Field(max_length=128)] = ""


class _Delta(_Message):
    index: Count
    text: str


class _Answer(_Message):
    text: str | None
    finish: Finish
    usage: _Usage
    logprobs: list[list[Annotated[tuple[str, LogProb], Field(strict=False)]]] = []


class _Error(_Message):
    type: str
    text: str


M = TypeVar("M", bound=_Message)
V = TypeVar("V", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A decoded question. ``id`` is the asker's, unique among its requests; ``trace`` a W3C traceparent, or "".

    Whoever cannot use that passes it over.
    """

    id: str
    messages: tuple[Message, ...]
    options: Options
    trace: str = ""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A decoded ``delta``: ``index`` counts the pieces of one answer from 0."""

    index: int
    text: str


def encode_ask(request: str, messages: Sequence[Message], options: Options, trace: str = "") -> bytes:
    """Packs a question. Raises MessageTooLargeError, so that nothing of it is sent."""
    turns = [{"role": m.role, "text": m.text, "images": [i.data for i in m.images]} for m in messages]
    how = {**vars(options)}  # plain values: asdict would copy them deeply
    if not options.top_logprobs:  # rarely wanted, so it costs nothing where it is not
        del how["top_logprobs"]
    return codec.encode("ask", {"id": request, "messages": turns, "options": how} | ({"trace": trace} if trace else {}))


def encode_delta(request: str, index: int, text: str) -> bytes:
    """Packs a piece of an answer."""
    return codec.encode("delta", {"id": request, "index": index, "text": text})


def encode_answer(request: str, answer: Answer, *, with_text: bool = True) -> bytes:
    """Packs an answer; ``with_text=False`` when the deltas that went before it are its text."""
    text = answer.text if with_text else None
    fields = {"id": request, "text": text, "finish": answer.finish, "usage": {**vars(answer.usage)}}
    return codec.encode("answer", fields | ({"logprobs": answer.logprobs} if answer.logprobs else {}))


def encode_error(request: str, error: BaseException) -> bytes:
    """Packs an error as (class name, one line). What is not aiflow's own travels as BackendError."""
    name = next((kind.__name__ for kind in type(error).__mro__ if ERRORS.get(kind.__name__) is kind), "")
    line = " ".join(str(error).split())[:_LONGEST_ERROR]
    text = line if name else f"{type(error).__name__}: {line}"
    return codec.encode("error", {"id": request, "type": name or BackendError.__name__, "text": text})


def decode_ask(payload: bytes) -> Ask:
    """Reads a question. Raises a ProtocolError for anything that ``encode_ask`` could not have made."""
    ask = _read(payload, "ask", _Ask)
    try:
        messages = tuple(Message(t.role, t.text, tuple(map(Image, t.images))) for t in ask.messages)
        options = Options(**{**dict(ask.options), "stop": ask.options.stop})
        return Ask(id=ask.id, messages=messages, options=options, trace=ask.trace)
    except InputError as error:
        raise MessageError(f"an 'ask' message cannot be used: {error}") from error


def decode_reply(payload: bytes, request: str, heard: str = "") -> Piece | Answer:
    """Reads what came back for ``request``; ``heard`` is the text of its deltas so far.

    Raises the error that an ``error`` message carries, and a ProtocolError for anything else that is no reply to it.
    """
    kind = codec.decode(payload).kind
    if kind == "error":
        failure = _read(payload, "error", _Error)
        _check_id(failure.id, request, {request, ""})
        raise ERRORS.get(failure.type, BackendError)(failure.text)
    if kind == "delta":
        piece = _read(payload, "delta", _Delta)
        _check_id(piece.id, request, {request})
        return Piece(index=piece.index, text=piece.text)
    answer = _read(payload, "answer", _Answer)
    _check_id(answer.id, request, {request})
    text = heard if answer.text is None else answer.text
    logprobs = tuple(tuple(place) for place in answer.logprobs)
    return Answer(text=text, finish=answer.finish, usage=Usage(**dict(answer.usage)), logprobs=logprobs)


def _read(payload: bytes, kind: Literal["ask", "delta", "answer", "error"], model: type[M]) -> M:
    return validated(codec.decode(payload, kind).fields, kind, model)


def validated(fields: dict[str, Any], kind: str, model: type[V]) -> V:
    """The fields of a message as its model. Raises MessageError that names the first wrong one."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise MessageError(f"field {where!r} of an {kind!r} message is wrong: {first['msg']}") from None


def _check_id(found: str, request: str, valid: set[str]) -> None:
    if found not in valid:
        raise MessageError(f"a reply to request {found!r} came back for request {request!r}")
