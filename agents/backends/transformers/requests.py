"""One call: what was asked, what has been written, and the mailbox through which its caller reads. Knows no model."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiflow.agents.backends.transformers.sampling import Law, Ranked
from aiflow.agents.backends.transformers.writer import Writer
from aiflow.types import Answer, Finish, Message, Options, Usage

End = Answer | BaseException


class Mailbox:
    """Carries text from the model's thread to a coroutine. Made, read and filled in the caller's event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._text = ""
        self._end: End | None = None

    def put(self, text: str, end: End | None) -> None:
        """Adds text, and the end if it is there."""
        self._text += text
        self._end = end
        self._wake.set()

    async def take(self) -> tuple[str, End | None]:
        """Waits for something new; returns the text since the last time, and the end if it is there."""
        await self._wake.wait()
        self._wake.clear()
        text, self._text = self._text, ""
        return text, self._end


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A conversation as tokens; ``extra`` holds what else the first forward pass needs (pixel values)."""

    ids: list[int]
    extra: Mapping[str, Any] = field(default_factory=dict)
    stop: tuple[str, ...] = ()


class Request:
    """One answer being written. The model's thread owns it; the caller only sets ``cancelled``."""

    def __init__(self, messages: tuple[Message, ...], options: Options, mailbox: Mailbox) -> None:
        self.messages, self.options, self.mailbox = messages, options, mailbox
        self.cancelled = False
        self.finish: Finish | None = None
        self.prompt = Prompt(ids=[])
        self.law = Law()
        self.token = -1  # the last one, which the next forward pass reads
        self._started = time.perf_counter()
        self._text: list[str] = []
        self._ranked: list[Ranked] = []
        self._count = 0

    def start(
        self,
        prompt: Prompt,
        decode: Callable[[list[int]], str],
        spell: Callable[[int], str],
        *,
        ends: frozenset[int],
        context: int,
        seed: int,
    ) -> None:
        """Sets up the writing. ``context``: tokens of prompt and answer; ``seed`` serves a call without its own."""
        options = self.options
        self.prompt, self._ends, self._spell = prompt, ends, spell
        self._limit = min(options.max_tokens, context - len(prompt.ids))
        self._writer = Writer(decode, (*options.stop, *prompt.stop))
        draws = random.Random(seed if options.seed is None else options.seed)
        self.law = Law(temperature=options.temperature, top_p=options.top_p, draws=draws)

    @property
    def limit(self) -> int:
        """Tokens that the answer may have at most."""
        return self._limit

    def push(self, token: int, ranked: Ranked | None = None) -> str:
        """Takes the next token; returns new text and sets ``finish`` when the answer is over.

        ``ranked``: the likeliest tokens at its place, for a call that wants them.
        """
        self.token = token
        self._count += 1
        if self.options.top_logprobs:
            self._ranked.append(ranked or [])
        text = ""
        if token in self._ends:
            self.finish = "stop"
        else:
            text = self._writer.push(token)
            if self._writer.stopped:
                self.finish = "stop"
            elif self._count >= self._limit:
                self.finish = "length"
        if self.finish:
            text += "" if self._writer.stopped else self._writer.end()
            self.finish = "stop" if self._writer.stopped else self.finish
        self._text.append(text)
        return text

    def answer(self) -> Answer:
        """The whole answer; the tokens of its usage include an end-of-sequence token, and so do its ``logprobs``.

        Their places are all tokens that were generated, those of a stop string included.
        """
        seconds = time.perf_counter() - self._started
        usage = Usage(requests=1, prompt_tokens=len(self.prompt.ids), completion_tokens=self._count, seconds=seconds)
        return Answer(
            text="".join(self._text),
            finish=self.finish or "cancelled",
            usage=usage,
            seconds=seconds,
            logprobs=tuple(tuple((self._spell(token), p) for token, p in place) for place in self._ranked),
        )
