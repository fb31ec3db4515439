"""What collaborative decoding needs of a model: logits, and the way from messages to tokens and back."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiflow.types import Image, Message

if TYPE_CHECKING:
    from aiflow.agents.backends.transformers.requests import Prompt
    from aiflow.collaboration.decoding.engine import Engine


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """A model that can take part.

    Attributes:
        engine: its logits.
        prompt: messages to tokens; raises InputError.
        images: what a forward pass needs besides these tokens for their images; raises InputError.
        decode: tokens to text.
        ends: ids that end an answer.
        silent: ids that no answer has.
        context: tokens of prompt and answer.
        vocabulary: ids below it may be said.
        parts: hashes of what must be equal for two models to share ids, by its name.
    """

    engine: "Engine"
    prompt: "Callable[[Sequence[Message]], Prompt]"
    images: Callable[[Sequence[Image], Sequence[int]], Mapping[str, Any]]
    decode: Callable[[list[int]], str]
    ends: frozenset[int]
    silent: tuple[int, ...]
    context: int
    vocabulary: int
    parts: Mapping[str, str]


def fingerprint(tokenizer: Any, template: str | None, vocabulary: int) -> dict[str, str]:
    """Of a transformers tokenizer: its ids, added tokens, chat template, and how many ids may be said."""
    added = {token: i for i, token in tokenizer.added_tokens_decoder.items()}
    ids = {token: i for token, i in tokenizer.get_vocab().items() if token not in added}
    return {
        "vocabulary": _hash(sorted(ids.items())),
        "added tokens": _hash(sorted((str(token), i, token.special) for token, i in added.items())),
        "chat template": _hash(template),
        "size": str(vocabulary),
    }


def _hash(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()
