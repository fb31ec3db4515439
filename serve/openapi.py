"""The OpenAPI document: which bodies are read, which answers come, with which statuses."""

from functools import cache
from typing import Any, Literal

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from aiflow.serve.forms import Chat, Completion
from aiflow.serve.status import Status

PATHS = {
    "/v1/models": ("GET", "models", "The models: every agent and every graph."),
    "/v1/models/{model:path}": ("GET", "model", "One model."),
    "/v1/chat/completions": ("POST", "chat", "An answer to a conversation, whole or as server-sent events."),
    "/v1/completions": ("POST", "completion", "An answer to each prompt, whole or as server-sent events."),
    "/health": ("GET", "health", "Whether the gateway answers."),
    "/metrics": ("GET", "metrics", "Metrics for Prometheus."),
    "/status": ("GET", "status", "How nodes, links and agents are now."),
}
_BODIES: dict[str, type[BaseModel]] = {"/v1/chat/completions": Chat, "/v1/completions": Completion}
_REF = "#/components/schemas/{model}"
_OPEN = ("/health",)


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Error(_Said):
    """What went wrong, which parameter it is about, and a name of it for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(_Said):
    """OpenAI's form of an error."""

    error: Error


class ModelCard(_Said):
    """A model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(_Said):
    """All models."""

    object: Literal["list"]
    data: list[ModelCard]


class Usage(_Said):
    """Tokens over all agents that took part."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AgentUsage(_Said):
    """What one agent did."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float


class Costs(_Said):
    """Tokens and seconds by agent, bytes by link, and agents that were late, dead, failed or idle."""

    agents: dict[str, AgentUsage]
    bytes: dict[str, int]
    marks: list[dict[str, str]]


class AnswerMessage(_Said):
    """What was said."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(_Said):
    """The answer."""

    index: Literal[0]
    message: AnswerMessage
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class TextChoice(_Said):
    """A prompt's text, by the prompt's place."""

    index: int
    text: str
    logprobs: None
    finish_reason: Literal["stop", "length"]


class _Answer(_Said):
    id: str
    created: int
    model: str
    usage: Usage
    aiflow: Costs


class ChatAnswer(_Answer):
    """A chat completion."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class CompletionAnswer(_Answer):
    """A completion."""

    object: Literal["text_completion"]
    choices: list[TextChoice]


class Health(_Said):
    """That it answers, or is about to end."""

    status: Literal["ok", "draining"]


_ANSWERS: dict[str, type[BaseModel]] = {
    "/v1/models": ModelList,
    "/v1/models/{model:path}": ModelCard,
    "/v1/chat/completions": ChatAnswer,
    "/v1/completions": CompletionAnswer,
    "/health": Health,
    "/status": Status,
}
_WHY = {
    400: "The request cannot be used; param says where.",
    401: "No valid API key.",
    403: "Called by a name that it does not know.",
    404: "No such model.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "The body is not JSON by its content type.",
    429: "A limit is reached; retry-after says for how long.",
    502: "An agent failed.",
    503: "An agent is not available.",
    504: "No answer in time.",
}


def _responses(path: str) -> dict[int | str, dict[str, Any]]:
    """What comes back from a path, for FastAPI's ``responses``."""
    if path in _OPEN:
        statuses = [403]
    elif path in _BODIES:
        statuses = list(_WHY)
    else:
        statuses = [401, 403, 404] if "{" in path else [401, 403]
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": _WHY[status], "content": {"application/json": {"schema": _ref(ErrorAnswer)}}}
        for status in statuses
    }
    content: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
    if path in _ANSWERS:
        content = {"application/json": {"schema": _ref(_ANSWERS[path])}}
    if path in _BODIES:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    found[200] = {"description": "The answer.", "content": content}
    return found


@cache
def describe(*, secured: bool) -> dict[str, Any]:
    """The document; ``secured``: a key is needed."""
    document = get_openapi(title="aiflow", version="1", routes=[_route(path) for path in PATHS])
    models: list[Any] = [(form, "validation") for form in (*_BODIES.values(), *_ANSWERS.values(), ErrorAnswer)]
    _, definitions = models_json_schema(models, ref_template=_REF)
    components = document.setdefault("components", {})
    components["schemas"] = definitions["$defs"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete(operation, path, secured=secured)
    if secured:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document


def _route(path: str) -> APIRoute:
    method, name, words = PATHS[path]

    def described() -> None: ...

    return APIRoute(
        path,
        described,
        methods=[method],
        name=name,
        operation_id=name,
        description=words,
        response_model=None,
        responses=_responses(path),
    )


def _complete(operation: dict[str, Any], path: str, *, secured: bool) -> None:
    """Adds what FastAPI cannot read from a handler that parses its body itself."""
    for answer in operation["responses"].values():
        if answer.get("content", {}).get("application/json", {}).get("schema") == {}:
            del answer["content"]["application/json"]
    if path in _BODIES:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _ref(_BODIES[path])}},
        }
    if secured and path not in _OPEN:
        operation["security"] = [{"key": []}]
    if "{" in path:
        operation["parameters"] = [
            {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        ]


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _REF.format(model=model.__name__)}
