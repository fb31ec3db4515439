"""The arguments of a split inference, their defaults, and what of them cannot be used. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from aiflow.agents.decoding.wire import Turn
from aiflow.agents.options import known
from aiflow.agents.split.wire import Open
from aiflow.collaboration.familial.drive import PATIENCE
from aiflow.collaboration.familial.front import Manner, Policy
from aiflow.errors import InputError
from aiflow.types import Message, Options

TRANSPORTS = ("auto", "activations", "ids")


class How(TypedDict, total=False):
    """Arguments of ``Agent.split_stream`` beside the conversation and the server; all may be left out.

    Attributes:
        options: over the device's defaults; the temperature is 0.
        exit: blocks that the device computes (0: embeddings only); None: those that it was loaded with.
        transport: "activations", "ids" (the server computes all, but images' embeddings travel), or "auto": what is
            faster at the measured rate of the link, at the start and whenever the server is heard of again.
        dtype: of activations on the link, such as "bfloat16" or "int8"; None: the model's own.
        lossy: allows a dtype that changes the text.
        policy: whether tokens that were said while the server was not heard of are judged later ("lossless") or stand
            ("best_effort").
        ahead: tokens that the device says before the server has judged them (16).
        budget: bytes of activations that the device keeps for a lost link or server (64 MiB).
        sender: node of the asker; None: the device's.
        deadline: seconds for all of it, but for the first loading; None: none.
        silence: seconds beyond what the link needs after which the device goes on alone (1).
        patience: seconds for which a silent server is waited for once the device has nothing left to say (60).
        provisional: whether text that may change is shown.
    """

    options: Options | Mapping[str, Any] | None
    exit: int | None
    transport: str
    dtype: str | None
    lossy: bool
    policy: Policy
    ahead: int
    budget: int
    sender: str | None
    deadline: float | None
    silence: float
    patience: float
    provisional: bool


DEFAULTS: How = {
    "options": None,
    "exit": None,
    "transport": "auto",
    "dtype": None,
    "lossy": False,
    "policy": "lossless",
    "ahead": 16,
    "budget": 64 << 20,
    "sender": None,
    "deadline": None,
    "silence": PATIENCE,
    "patience": 60.0,
    "provisional": True,
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be answered, and how, once checked."""

    messages: tuple[Message, ...]
    options: Options
    sender: str
    exit: int | None
    transport: str
    manner: Manner
    provisional: bool
    silence: float
    patience: float

    @classmethod
    def of(cls, messages: tuple[Message, ...], options: Options, sender: str, given: How) -> "Asked":
        """Raises InputError for a value that cannot be used."""
        if options.temperature:
            raise InputError(
                f"temperature {options.temperature:g}: split inference gives the full model's greedy text; "
                "leave it at 0, or sample with speculative_decode."
            )
        if options.top_logprobs:
            raise InputError(
                f"top_logprobs={options.top_logprobs}: split inference reports no probabilities, since device and "
                "server both write; leave it at 0, or ask the full model alone."
            )
        if given["transport"] not in TRANSPORTS:
            raise InputError(f"transport {given['transport']!r} is not known; use one of {', '.join(TRANSPORTS)}.")
        dtype: Any = given["dtype"]
        return cls(
            messages=messages,
            options=options,
            sender=sender,
            exit=given["exit"],
            transport=given["transport"],
            manner=Manner(
                dtype=dtype,
                lossy=given["lossy"],
                policy=given["policy"],
                ahead=given["ahead"],
                budget=given["budget"],
            ),
            provisional=given["provisional"],
            silence=_seconds("silence", given["silence"]),
            patience=_seconds("patience", given["patience"]),
        )

    def open(self, key: str, names: list[str]) -> Open:
        """The message that begins at the device."""
        return Open(
            key=key,
            turns=[Turn.of(message) for message in self.messages],
            stop=list(self.options.stop),
            limit=self.options.max_tokens,
            names=names,
            provisional=self.provisional,
            exit=self.exit,
            dtype=self.manner.dtype,
            lossy=self.manner.lossy,
            policy=self.manner.policy,
            ahead=self.manner.ahead,
            budget=self.manner.budget,
        )


def complete(how: How) -> How:
    """With the defaults for what was left out. Raises InputError for a name that is not known."""
    known(how, DEFAULTS, "split inference")
    return {**DEFAULTS, **how}


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InputError(f"{name}={value!r} is not usable; give seconds above 0, such as 10.")
    return float(value)
