"""What lm-evaluation-harness asks, as messages and options of ours. Pure; it does not import that library."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiflow.errors import InputError
from aiflow.types import Message, Options, conversation

CHAT = "aiflow-chat:"
"""Starts a context that is a conversation in JSON, not text: back ends apply their own chat templates."""
MAX_TOKENS = 256
"""Of an answer whose task names no limit, as in the harness's own models."""
_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_NEUTRAL: Mapping[str, Sequence[Any]] = {
    "num_beams": (1,),
    "repetition_penalty": (1, 1.0),
    "min_p": (0, 0.0),
    "top_k": (None, 0, -1),
}
"""Generation settings that we have not, and the values that ask for nothing."""


def pack(history: Sequence[Mapping[str, str]]) -> str:
    """A conversation as the text that the harness carries to a model."""
    return CHAT + json.dumps([dict(turn) for turn in history], ensure_ascii=False)


def messages(context: str) -> tuple[Message, ...]:
    """The conversation in a context; plain text is one turn of the user. Raises InputError for an empty one."""
    if not context.startswith(CHAT):
        return conversation(context)
    turns, end = json.JSONDecoder().raw_decode(context, len(CHAT))
    tail = context[end:]  # what a task writes behind its prompt, to begin the answer with
    read = conversation([(turn["role"], turn["content"]) for turn in turns])
    return (*read[:-1], Message(read[-1].role, read[-1].text + tail, read[-1].images)) if tail.strip() else read


def options(settings: Mapping[str, Any]) -> tuple[Options, tuple[str, ...]]:
    """The options of a generation and the strings that end its answer.

    Without ``do_sample`` or a temperature it is greedy. Raises InputError for a setting that would change the answers
    and that back ends have not.
    """
    left = dict(settings)
    until = _until(left.pop("until", None))
    limits = [left.pop(name) for name in _LIMITS if name in left]
    sampled = left.pop("do_sample", None)
    heat = left.pop("temperature", None)
    top_p = left.pop("top_p", None)
    seed = left.pop("seed", None)
    greedy = not sampled if sampled is not None else not heat
    for name, value in left.items():
        alone = greedy and name in ("top_k", "min_p")
        if not alone and value not in _NEUTRAL.get(name, ()):
            raise InputError(
                f"the task asks for {name}={value!r}, which agents do not know; override it in gen_kwargs."
            )
    return (
        Options(
            max_tokens=next((int(limit) for limit in limits if limit is not None), MAX_TOKENS),
            temperature=0.0 if greedy else 1.0 if heat is None else heat,
            top_p=1.0 if greedy or top_p is None else top_p,
            seed=seed,
            stop=until,
        ),
        until,
    )


def cut(text: str, until: Sequence[str]) -> str:
    """The text before the first of the strings that end it; graphs and some servers write on."""
    places = [place for place in map(text.find, until) if place >= 0]
    return text[: min(places)] if places else text


def _until(value: Any) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else tuple(value or ())
    if not all(isinstance(end, str) for end in found):
        raise InputError(f"until={value!r} is no list of strings.")
    return tuple(end for end in dict.fromkeys(found) if end)
