"""OpenAI's answers as JSON: whole and in pieces, of both endpoints. Pure functions."""

import json
import time
from collections.abc import Sequence
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from aiflow.serve.outcome import Logprobs, Outcome
from aiflow.types import Usage

DONE = b"data: [DONE]\n\n"
FINISH = {"stop": "stop", "length": "length", "cancelled": "stop"}
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_NO_PROBABILITY = -9999.0  # as OpenAI says it


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    try:
        return to_json(value)
    except PydanticSerializationError:  # half a surrogate pair, which a model may write
        return _compact(value).encode("utf-8", "replace")


def event(value: Any, name: str = "") -> bytes:
    """A server-sent event."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + encode(value) + b"\n\n"


class Form:
    """The replies of one request to ``model``; ``chat`` or else plain completions."""

    def __init__(self, identity: str, model: str, *, chat: bool, logprobs: int | None = None) -> None:
        self._chat, self._logprobs = chat, logprobs
        self._id = f"{'chatcmpl' if chat else 'cmpl'}-{identity}"
        self.model, self._created = model, int(time.time())

    def whole(self, outcomes: Sequence[Outcome], used: Usage, extra: dict[str, Any]) -> bytes:
        """A complete answer, with a choice for each outcome."""
        choices = [self._choice(index, outcome) for index, outcome in enumerate(outcomes)]
        kind = "chat.completion" if self._chat else "text_completion"
        return encode({**self._head(kind), "choices": choices, "usage": tokens(used), "aiflow": extra})

    def _choice(self, index: int, outcome: Outcome) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index}
        if self._chat:
            choice["message"] = {"role": "assistant", "content": outcome.text, "refusal": None}
        else:
            choice["text"] = outcome.text
        choice["logprobs"] = self._probabilities(outcome.logprobs)
        choice["finish_reason"] = FINISH[outcome.finish]
        return choice

    def first(self) -> bytes:
        """The event that says who speaks; nothing for plain completions."""
        return self._event({"role": "assistant", "content": ""}) if self._chat else b""

    def piece(self, text: str, index: int = 0) -> bytes:
        """A piece of the text."""
        return self._event({"content": text} if self._chat else text, index=index)

    def end(self, outcome: Outcome, index: int, **more: Any) -> bytes:
        """The event that ends a choice."""
        probabilities, finish = self._probabilities(outcome.logprobs), FINISH[outcome.finish]
        return self._event({} if self._chat else "", index=index, finish=finish, logprobs=probabilities, **more)

    def last(
        self, outcome: Outcome, used: Usage, extra: dict[str, Any], *, include_usage: bool, index: int = 0
    ) -> bytes:
        """The events that end a stream; ``aiflow`` is in the usage chunk, or without one in the last choice's."""
        end = self.end(outcome, index, **({} if include_usage else {"aiflow": extra}))
        if include_usage:
            end += event({**self._head(self._kind), "choices": [], "usage": tokens(used), "aiflow": extra})
        return end + DONE

    @property
    def _kind(self) -> str:
        return "chat.completion.chunk" if self._chat else "text_completion"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self.model}

    def _event(
        self, said: Any, *, index: int = 0, finish: str | None = None, logprobs: Any = None, **more: Any
    ) -> bytes:
        name = "delta" if self._chat else "text"
        choice = {"index": index, name: said, "logprobs": logprobs, "finish_reason": finish}
        return event({**self._head(self._kind), "choices": [choice], **more})

    def _probabilities(self, places: Logprobs) -> dict[str, Any] | None:
        if not places or self._logprobs is None:
            return None
        content = []
        for place in places:
            top = [{"token": text, "logprob": p, "bytes": list(text.encode())} for text, p in place]
            head = top[0] if top else {"token": "", "logprob": _NO_PROBABILITY, "bytes": None}
            content.append({**head, "top_logprobs": top[: self._logprobs]})
        return {"content": content, "refusal": None}


def tokens(used: Usage) -> dict[str, int]:
    """OpenAI's ``usage``."""
    prompt, completion = used.prompt_tokens, used.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def model_card(name: str, created: int) -> dict[str, Any]:
    """One entry of the list of models."""
    return {"id": name, "object": "model", "created": created, "owned_by": "aiflow"}
