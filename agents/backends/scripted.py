"""A back end that answers from a script, with delays and faults on demand: for tests, examples and measurements.

``scripted:echo`` repeats the question; ``scripted:<text>`` answers the text, with ``{question}`` and ``{turn}`` filled
in. A script is sure of itself: each word that it says has the probability 1 in ``Answer.logprobs``, and no other any.
"""

import json
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import count
from typing import Any

from aiflow.clock import Clock, RealClock
from aiflow.errors import AgentDiedError, BackendError, InputError, suggest
from aiflow.types import Answer, Delta, Finish, Message, Options, Usage

FAULTS = ("raise", "garbage", "babble", "hang", "die")
_TOKEN = re.compile(r"\s*\S+(?:\s+$)?")


class ScriptedBackend:
    """Answers by ``answers``: a dict from question to answer (``"*"`` for any other), a list in turn, or a template.

    ``delay``: seconds before the first token; ``token_delay``: seconds before each token (a token is a word).
    ``fail``: ``raise`` an error, return ``garbage``, ``babble`` without end, ``hang``, or ``die`` (the process exits);
    ``fail_on``: only for questions that contain this text. ``log``: a file to which each question is appended as a line
    of JSON when it is asked. Raises InputError for an unusable argument.
    """

    def __init__(
        self,
        model: str = "scripted:echo",
        *,
        answers: Mapping[str, str] | Sequence[str] | str | None = None,
        delay: float = 0.0,
        token_delay: float = 0.0,
        fail: str | None = None,
        fail_on: str = "",
        log: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        for name, value in (("delay", delay), ("token_delay", token_delay)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise InputError(f"{name}={value!r} is not usable; give seconds >= 0.")
        if fail is not None and fail not in FAULTS:
            raise InputError(f"fail={fail!r} is not usable; {suggest(str(fail), list(FAULTS))}")
        self._answers = answers if answers is not None else model.partition(":")[2] or "echo"
        if not self._answers or not isinstance(self._answers, str | Mapping | Sequence):
            raise InputError("answers must be a dict, a list or a template, and not empty.")
        self._delay, self._token_delay = delay, token_delay
        self._fail, self._fail_on, self._log = fail, fail_on, log
        self._clock = clock or RealClock()
        self._asked = count()

    async def stream(self, messages: Sequence[Message], options: Options) -> AsyncIterator[Delta | Answer]:
        """Yields the script's answer word by word."""
        question = messages[-1].text
        if self._log is not None:
            _append(self._log, question)
        turn = sum(message.role == "user" for message in messages)
        await self._sleep(self._delay)
        if self._fail and self._fail_on in question:
            async for item in self._fault(question):
                yield item
        text = _stop(self._answer(question, turn, next(self._asked)), options.stop)
        words = _TOKEN.findall(text)
        said = words[: options.max_tokens]
        for word in said:
            await self._sleep(self._token_delay)
            yield Delta(text=word)
        finish: Finish = "length" if len(said) < len(words) else "stop"
        prompt = sum(len(_TOKEN.findall(message.text)) for message in messages)
        usage = Usage(requests=1, prompt_tokens=prompt, completion_tokens=len(said))
        logprobs = tuple(((word, 0.0),) for word in said) if options.top_logprobs else ()
        yield Answer(text="".join(said), finish=finish, usage=usage, logprobs=logprobs)

    async def close(self) -> None:
        """Frees nothing."""

    def _answer(self, question: str, turn: int, asked: int) -> str:
        match self._answers:
            case str(template):
                template = "{question}" if template == "echo" else template
                return template.replace("{turn}", str(turn)).replace("{question}", question)
            case Mapping() as answers:
                if question in answers or "*" in answers:
                    return str(answers.get(question, answers.get("*")))
                raise BackendError(f"the script has no answer to {question[:60]!r}.")
            case answers:
                return str(answers[asked % len(answers)])

    async def _fault(self, question: str) -> AsyncIterator[Any]:
        match self._fail:
            case "raise":
                raise BackendError(f"scripted to fail at {question[:60]!r}")
            case "garbage":
                yield b"\x00garbage"
            case "die":
                _die()
            case _:
                while True:
                    if self._fail == "babble":
                        yield Delta(text="blah ")
                    await self._sleep(self._token_delay or (0.001 if self._fail == "babble" else 3600.0))

    async def _sleep(self, seconds: float) -> None:
        if seconds:
            await self._clock.sleep_until(self._clock.now() + seconds)


def _stop(text: str, stop: Sequence[str]) -> str:
    return text[: min((text.index(word) for word in stop if word in text), default=len(text))]


def _append(path: str | os.PathLike[str], question: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(question) + "\n")


def _die() -> None:
    ray: Any = sys.modules.get("ray")
    if ray is not None and ray.is_initialized() and ray.get_runtime_context().get_actor_id():
        os._exit(1)
    raise AgentDiedError("scripted to die")  # in the caller's own process, which has to live on
