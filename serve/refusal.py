"""An answer that says no, in OpenAI's form, and which errors of aiflow become which. Knows no HTTP server.

Messages name parameters and agents, never what a caller wrote: a model's own error may quote the prompt.
"""

import json
from collections.abc import Mapping
from typing import Any

from aiflow.errors import (
    AgentDiedError,
    AgentError,
    AiflowError,
    BackendUnavailableError,
    DeadlineError,
    InputError,
    MessageTooLargeError,
    QuorumError,
    UsageError,
)

INVALID, SERVER, RATE = "invalid_request_error", "server_error", "rate_limit_error"
AGAIN = {"retry-after": "1"}
NOT_AGAIN = {"x-should-retry": "false"}


class Refusal(AiflowError):
    """A request that gets no answer: the HTTP ``status`` and OpenAI's fields; ``headers`` go with it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.code, self.param = status, kind, code, param
        self.headers = dict(headers or {})

    @property
    def error(self) -> dict[str, Any]:
        """The object under ``error``."""
        return {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}

    @property
    def body(self) -> bytes:
        """The JSON that is sent."""
        return json.dumps({"error": self.error}).encode()


def of(error: AiflowError, model: str, *, verbatim: bool = False) -> Refusal:
    """What a caller of ``model`` is told of ``error``; with ``verbatim`` in the error's own words."""
    if isinstance(error, Refusal):
        return error
    words = str(error) if verbatim else ""
    match error:
        case DeadlineError():
            return _failed(504, words or f"{model!r} did not answer in time.", "timeout", NOT_AGAIN)
        case AgentDiedError() | BackendUnavailableError():
            return _failed(503, words or f"an agent of {model!r} is not available now.", "unavailable", AGAIN)
        case QuorumError():
            return _failed(503, words or f"too few agents of {model!r} answered.", "quorum", AGAIN)
        case InputError() | MessageTooLargeError():
            return Refusal(400, words or f"{model!r} cannot use this input: {_plain(error)}", code="unusable_input")
        case AgentError() | UsageError():
            return _failed(502, words or f"an agent of {model!r} failed ({type(error).__name__}).", "agent_failed", {})
    return _failed(500, words or f"{model!r} failed ({type(error).__name__}).", "failed", {})


def crash() -> Refusal:
    """What a caller is told of a bug."""
    return Refusal(500, "the gateway failed; its log says why.", kind=SERVER, code="internal_error")


def _failed(status: int, message: str, code: str, headers: Mapping[str, str]) -> Refusal:
    return Refusal(status, message, kind=SERVER, code=code, headers=headers)


def _plain(error: Exception) -> str:
    """An error's words up to the first that it quotes, since that may be the caller's own text."""
    text = str(error)
    cut = min((at for mark in "'\"`" if (at := text.find(mark)) >= 0), default=len(text))
    return text[:cut].strip(" :,(") or type(error).__name__
