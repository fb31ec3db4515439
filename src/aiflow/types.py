"""What agents are asked and what they answer: messages, options, usage. Plain frozen data, JSON at the edges."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from aiflow.errors import InputError

Role = Literal["system", "user", "assistant"]
ROLES = ("system", "user", "assistant")
_ALIASES = {"human": "user", "ai": "assistant"}
_MAGIC = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
    b"BM": "image/bmp",
}


@dataclass(frozen=True)
class Image:
    """An encoded picture (PNG, JPEG, GIF, WebP, BMP), known by its first bytes. Raises InputError otherwise."""

    data: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes) or not self.media_type:
            shown = bytes(self.data[:8]) if isinstance(self.data, bytes) else type(self.data).__name__
            raise InputError(f"not an image: {shown!r}...; pass the bytes of a PNG, JPEG, GIF, WebP or BMP file.")

    @property
    def media_type(self) -> str:
        """E.g. ``image/png``; empty if unknown."""
        found = next((kind for magic, kind in _MAGIC.items() if self.data.startswith(magic)), "")
        return found if found != "image/webp" or self.data[8:12] == b"WEBP" else ""

    @property
    def url(self) -> str:
        """The picture as a data URL."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Reads a base64 data URL; other URLs are refused, since agents do not fetch."""
        head, comma, body = url.partition(",")
        if not comma or not head.startswith("data:") or not head.endswith(";base64"):
            raise InputError(f"image URL {url[:40]!r} is not a base64 data URL; read the file and pass its bytes.")
        try:
            return cls(base64.b64decode(body, validate=True))
        except ValueError as error:  # binascii.Error, or text that is not ASCII
            raise InputError(f"the base64 data of an image cannot be read: {error}") from error


@dataclass(frozen=True)
class Message:
    """One turn of a conversation: text, and images that precede it."""

    role: Role
    text: str
    images: tuple[Image, ...] = ()

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise InputError(f"role {self.role!r} is unknown; use one of {', '.join(ROLES)}.")
        if not isinstance(self.text, str):
            raise InputError(f"the text of a message must be a str, got {type(self.text).__name__}.")

    @classmethod
    def of(cls, value: Any) -> Self:
        """From a Message, a (role, text) pair, an OpenAI-form dict, a LangChain message, or a str (a user's turn)."""
        match value:
            case cls():
                return value
            case str():
                return cls("user", value)
            case (str(role), content):
                return cls._of(role, content)
            case {"role": str(role), "content": content}:
                return cls._of(role, content)
        if hasattr(value, "type") and hasattr(value, "content"):
            return cls._of(value.type, value.content)
        raise InputError(
            f"cannot read a message from {type(value).__name__}; use ('user', 'text') or an OpenAI-form dict."
        )

    @classmethod
    def _of(cls, role: str, content: Any) -> Self:
        name: Any = _ALIASES.get(role, role)
        if isinstance(content, str):
            return cls(name, content)
        if not isinstance(content, Sequence):
            raise InputError(f"message content must be text or a list of parts, got {type(content).__name__}.")
        texts, images = [], []
        for part in content:
            match part:
                case str(text) | {"type": "text", "text": str(text)}:
                    texts.append(text)
                case {"type": "image_url", "image_url": str(url) | {"url": str(url)}}:
                    images.append(Image.from_url(url))
                case _:
                    raise InputError(f"message part {str(part)[:60]!r} is neither text nor image_url.")
        return cls(name, "\n".join(texts), tuple(images))

    def openai(self) -> dict[str, Any]:
        """The OpenAI chat form, images as data URLs."""
        if not self.images:
            return {"role": self.role, "content": self.text}
        parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": i.url}} for i in self.images]
        return {"role": self.role, "content": [*parts, {"type": "text", "text": self.text}]}


def conversation(messages: Any) -> tuple[Message, ...]:
    """Reads a conversation from whatever ``Message.of`` accepts, alone or in a sequence.

    Raises InputError when it is empty, when its last turn is blank, or when a value is no message.
    """
    pair = isinstance(messages, tuple) and len(messages) == 2 and all(isinstance(part, str) for part in messages)
    single = pair or isinstance(messages, str | Message | Mapping) or hasattr(messages, "content")
    if not single and not isinstance(messages, Iterable):
        raise InputError(f"messages must be text or a list of messages, got {type(messages).__name__}.")
    turns = tuple(Message.of(m) for m in ([messages] if single else messages))
    if not turns or not (turns[-1].text.strip() or turns[-1].images):
        raise InputError("the question is empty; pass at least one message with text or an image.")
    return turns


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to generate. ``temperature`` 0 is greedy; ``seed`` makes sampling repeatable per call, whatever else runs.

    ``top_logprobs``: how many of the likeliest tokens at each place to report in ``Answer.logprobs``.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        stop: Any = self.stop  # one str is accepted for one stop string
        object.__setattr__(self, "stop", (stop,) if isinstance(stop, str) else tuple(stop or ()))
        for name, kinds, valid, rule in (
            ("max_tokens", int, lambda v: v >= 1, "an int >= 1"),
            ("temperature", int | float, lambda v: 0 <= v <= 10, "a number of 0..10"),
            ("top_p", int | float, lambda v: 0 < v <= 1, "a number in (0, 1]"),
            ("seed", int | None, lambda v: v is None or 0 <= v < 2**63, "an int >= 0 or None"),
            ("stop", tuple, lambda v: all(isinstance(s, str) and s for s in v), "non-empty strings"),
            ("top_logprobs", int, lambda v: 0 <= v <= 20, "an int of 0..20"),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kinds) or not valid(value):
                raise InputError(f"{name}={value!r} is not usable; give {rule}.")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a call (or many) cost: model calls, tokens, and seconds inside the model's process."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            seconds=self.seconds + other.seconds,
        )


Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Delta:
    """A piece of an answer while it is being written."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole answer. ``seconds`` is what the asker waited, links included; ``bytes`` what crossed each link.

    ``agent`` and ``node``: who answered, and where, as far as that is one place.
    ``logprobs``: where ``Options.top_logprobs`` asked for them, the likeliest tokens at each place as (text, natural
    logarithm of the probability before temperature and ``top_p``), the likeliest first.
    """

    text: str
    finish: Finish = "stop"
    usage: Usage = field(default_factory=Usage)
    agent: str = ""
    node: str = ""
    seconds: float = 0.0
    bytes: Mapping[str, int] = field(default_factory=dict)
    logprobs: tuple[tuple[tuple[str, float], ...], ...] = ()
