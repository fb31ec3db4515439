"""A model as a judge: one question, a strict reading of its words, one retry. What is unreadable is told apart."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from aiflow.agents.interface import Asks
from aiflow.bench.suite import Judgment
from aiflow.types import Answer, Message, Options, conversation

V = TypeVar("V")


@dataclass(frozen=True)
class Heard(Generic[V]):
    """What was read out of a judge's words (None: nothing), and all that it said, for the log."""

    value: V | None
    judgment: Judgment


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Any agent that judges. ``options`` replace those that a benchmark prescribes, field by field.

    ``retries``: how often it is asked again when its words cannot be read; ``deadline``: seconds for each answer.
    """

    agent: Asks
    retries: int = 1
    deadline: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The agent's."""
        return self.agent.name

    async def hear(
        self,
        prompt: Any,
        read: Callable[[Answer], V | None],
        *,
        options: Options,
        label: str = "",
        again: str | None = None,
    ) -> Heard[V]:
        """Asks ``prompt`` (as ``Message.of`` reads it) until ``read`` finds something, at most 1 + ``retries`` times.

        ``again``: what to say after words that could not be read, which then stand in the talk; None: the same prompt
        is asked anew, with another seed. The judgment holds the words of all attempts. Raises AgentError.
        """
        talk, words = list(conversation(prompt)), list[str]()
        tokens, seconds, value = 0, 0.0, None
        answer = Answer(text="")
        for attempt in range(1 + self.retries):
            how = replace(options, **self.options)
            if attempt and again is None:
                how = replace(how, seed=attempt + (how.seed or 0))
            answer = await self.agent.ask(tuple(talk), options=how, deadline=self.deadline)
            words.append(answer.text)
            tokens, seconds = tokens + answer.usage.completion_tokens, seconds + answer.seconds
            value = read(replace(answer, text="\n".join(words)) if again else answer)
            if value is not None:
                break
            if again is not None:
                talk += [Message("assistant", answer.text or " "), Message("user", again)]
        data = {"logprobs": [list(map(list, place)) for place in answer.logprobs]} if answer.logprobs else {}
        text = "\n".join(words) if again else words[-1]
        return Heard(
            value,
            Judgment(judge=self.name, text=text, label=label, tokens=tokens, seconds=seconds, data=data),
        )
