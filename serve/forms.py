"""The bodies of requests: what is read of OpenAI's fields, and which are refused because ignoring them would mislead.

Fields that aiflow does not know are passed over. Errors name the field and never repeat its value.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from aiflow.serve.refusal import Refusal


def _integral(value: Any) -> Any:
    """JSON knows one kind of number: 5.0 is an integer there."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(_integral)  # after the bounds, or pydantic writes them wrongly into the schema
Tokens = Annotated[int, Field(ge=1, lt=2**31), Whole]
Zero = Annotated[float, Field(ge=0, le=0)]
Nothing = Annotated[list[Any], Field(max_length=0)]
Empty = Annotated[dict[str, Any], Field(max_length=0)]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]


PROMPTS = 64
"""Prompts in one request."""
Words = Annotated[str, Field(pattern=r"\S")]
_DATA_URL = "^data:image/(png|jpeg|jpg|gif|webp|bmp);base64,[A-Za-z0-9+/]+={0,2}$"
_BY_USER = {"contains": {"type": "object", "properties": {"role": {"const": "user"}}, "required": ["role"]}}


def _shape(value: Any) -> str:
    return "whole" if isinstance(value, str) else "parts"


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class TextPart(_Read):
    """A piece of text."""

    type: Literal["text"]
    text: Words


class ImageUrl(_Read):
    """A picture inside the request; remote pictures are never fetched."""

    url: Annotated[str, Field(pattern=_DATA_URL)]
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(_Read):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]
Parts = Annotated[list[Part], Field(min_length=1)]
Content = Annotated[Annotated[Words, Tag("whole")] | Annotated[Parts, Tag("parts")], Discriminator(_shape)]
Said = Annotated[Annotated[str, Tag("whole")] | Annotated[Parts, Tag("parts")], Discriminator(_shape)]
Stops = Annotated[
    Annotated[Stop, Tag("whole")] | Annotated[list[Stop], Field(max_length=16), Tag("parts")], Discriminator(_shape)
]


class AskedTurn(_Read):
    """What the model is told. ``developer`` is read as ``system``."""

    role: Literal["system", "developer", "user"]
    content: Content


class SaidTurn(_Read):
    """What the model said before."""

    role: Literal["assistant"]
    content: Said
    tool_calls: Nothing | None = None


Turn = Annotated[AskedTurn | SaidTurn, Field(discriminator="role")]


class StreamOptions(_Read):
    """How to stream."""

    include_usage: bool | None = None


class Sampling(_Read):
    """What both endpoints read. A field that is left out is as the agent's options say."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63), Whole] | None = None
    stop: Stops | None = None
    n: Literal[1] | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    logit_bias: Empty | None = None

    @property
    def limit(self) -> int | None:
        """How many tokens the caller allows."""
        return self.max_tokens

    def options(self, most: int) -> dict[str, Any]:
        """The fields of ``aiflow.Options`` that the caller has set, at most ``most`` tokens."""
        given: dict[str, Any] = {}
        if self.limit is not None:
            given["max_tokens"] = min(self.limit, most)
        if self.temperature is not None:
            given["temperature"] = self.temperature
        if self.top_p is not None:
            given["top_p"] = self.top_p
        if self.seed is not None:
            given["seed"] = self.seed
        if self.stop is not None:
            given["stop"] = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        return given


class TextFormat(_Read):
    """Plain text is the only form."""

    type: Literal["text"]


class Chat(Sampling):
    """The body of ``POST /v1/chat/completions``."""

    messages: Annotated[list[Turn], Field(min_length=1, json_schema_extra=_BY_USER)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20), Whole] | None = None
    tools: Nothing | None = None
    functions: Nothing | None = None
    tool_choice: Literal["none", "auto"] | None = None
    response_format: TextFormat | None = None
    modalities: list[Literal["text"]] | None = None
    audio: None = None
    web_search_options: None = None

    @property
    def limit(self) -> int | None:
        """How many tokens the caller allows."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class Completion(Sampling):
    """The body of ``POST /v1/completions``: prompts, each of which the agent reads as a user's turn."""

    prompt: (
        Annotated[Words, Tag("whole")]
        | Annotated[Annotated[list[Words], Field(min_length=1, max_length=PROMPTS)], Tag("parts")]
    ) = Field(discriminator=Discriminator(_shape))
    logprobs: None = None
    echo: Literal[False] | None = None
    suffix: Literal[""] | None = None
    best_of: Literal[1] | None = None

    @property
    def texts(self) -> list[str]:
        """The prompts."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


_ONLY: Mapping[str, str] = {
    "n": "only one choice is given",
    "tools": "agents call no tools here",
    "functions": "agents call no functions here",
    "tool_choice": "agents call no tools here",
    "tool_calls": "agents call no tools here",
    "presence_penalty": "no penalties are known",
    "frequency_penalty": "no penalties are known",
    "logit_bias": "no biases are known",
    "response_format": "plain text is the only form",
    "modalities": "text is the only form",
    "audio": "text is the only form",
    "web_search_options": "nothing is searched",
    "echo": "prompts are not repeated",
    "suffix": "no suffix can be given",
    "best_of": "only one choice is given",
    "url": "pictures must be data URLs (data:image/...;base64,...); remote ones are not fetched",
}
_TAGS = ("text", "image_url", "system", "developer", "user", "assistant")
F = TypeVar("F", bound=Sampling)


def read(form: type[F], raw: bytes) -> F:
    """The body as ``form``. Raises Refusal (400), which names the field."""
    try:
        return form.model_validate_json(raw)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
    param = _param(detail["loc"])
    if told := detail.get("ctx", {}).get("discriminator", ""):  # 'role' or 'type' is missing or unknown
        param = f"{param}.{told.strip(chr(39))}"
    last = str(param).rpartition(".")[2]
    if detail["type"] == "json_invalid":
        raise Refusal(400, "the body is not JSON that can be read.", code="invalid_json") from None
    if last in _ONLY and detail["type"] != "missing":
        code = "invalid_image_url" if last == "url" else "unsupported_parameter"
        raise Refusal(400, f"{param} has a value that is not supported: {_ONLY[last]}.", code=code, param=param)
    if detail["type"] == "string_pattern_mismatch":
        raise Refusal(400, f"{param} is empty; write something.", code="empty_message", param=param) from None
    words = "this kind is not supported" if told else detail["msg"]
    raise Refusal(400, f"{param or 'the body'}: {words}.", code="invalid_value", param=param)


def _param(where: tuple[int | str, ...]) -> str | None:
    """``messages[0].content[1].text`` without the names by which pydantic tells the forms of a value apart."""
    path, skip = "", False
    for part in where:
        if isinstance(part, int):
            path, skip = f"{path}[{part}]", True
        elif part in ("whole", "parts") or (skip and part in _TAGS):
            skip = False
        else:
            path, skip = f"{path}.{part}" if path else part, False
    return path or None
