"""The likeliest tokens in a chunk of a chat completion. Nothing that a server sends is taken for granted.

Knows OpenAI's form only (``choices[].logprobs.content[].top_logprobs[]``); neither requests nor connections.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Place = tuple[tuple[str, float], ...]
_LARGEST = sys.float_info.max
_ROUNDING = 1e-3  # by which a logarithm may lie above 0: that of a probability of 1 in half precision


def places(chunk: Any, most: int) -> list[Place]:
    """One place per token of the chunk: up to ``most`` tokens as (text, ln p), the likeliest first.

    An entry without a text, or with half a character, or without a finite ln p <= 0 is left out; one that rounding
    brought above 0 counts as 0. A token that was sampled but is not among those that the server lists is not added.
    """
    found: list[Place] = []
    for choice in _list(_field(chunk, "choices"))[:1]:
        for token in _list(_field(_field(choice, "logprobs"), "content")):
            entries = sorted(_entries(_field(token, "top_logprobs")), key=lambda entry: -entry[1])
            found.append(tuple(entries[:most]))
    return found


def gathered(found: Sequence[Place]) -> tuple[Place, ...]:
    """All places of an answer; none at all if the server listed nothing at any of them."""
    return tuple(found) if any(found) else ()


def _entries(top: Any) -> Iterator[tuple[str, float]]:
    for entry in _list(top):
        text, logprob = _field(entry, "token"), _field(entry, "logprob")
        if not isinstance(text, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float):
            continue
        if -_LARGEST <= logprob <= _ROUNDING and _is_text(text):
            yield text, min(float(logprob), 0.0)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a character that UTF-16 writes in two
        return False
    return True


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
