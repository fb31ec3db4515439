"""What answers lm-evaluation-harness's three kinds of requests with an aiflow subject. Does not import that library.

``evaluate.model`` joins it with the library's own base class. Requests are anything with ``args``.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from aiflow import aio
from aiflow.bench.harness import requests as forms
from aiflow.bench.harness.scoring import Scorer
from aiflow.bench.harness.subjects import scorer_of
from aiflow.bench.suite import Sample, Subject
from aiflow.errors import AiflowError, BudgetSpentError, DeadlineError, InputError
from aiflow.types import Message

T = TypeVar("T")


class Asked(Protocol):
    """A request, an ``Instance`` of the harness."""

    @property
    def args(self) -> tuple[Any, ...]:
        """What its kind prescribes: (context, settings), (context, continuation), (text,)."""


class Adapter:
    """Answers requests. ``counts`` tells how many there were and how many ``errors``, ``first_error`` the first one.

    An answer that a subject could not give is "" and counted; a budget that is spent ends the run.
    """

    def __init__(self, subject: Subject, *, parallel: int = 8, deadline: float | None = None) -> None:
        if parallel < 1 or (deadline is not None and deadline <= 0):
            raise InputError(f"parallel={parallel}, deadline={deadline}: give 1 or more, and seconds above 0 or None.")
        self.subject, self.parallel, self.deadline = subject, parallel, deadline
        self.counts: Counter[str] = Counter()
        self.first_error = ""
        self._scorer: Scorer | None = None

    @property
    def tokenizer_name(self) -> str:
        """Names what formats prompts: the subject."""
        return self.subject.name

    def chat_template(self, chat_template: bool | str = False) -> str:
        """A note in place of a template, since back ends hold their own."""
        del chat_template
        return "the back end's own"

    def apply_chat_template(self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """Carries the conversation to the back end. Raises InputError for an answer that is begun for the model."""
        if not add_generation_prompt:
            raise InputError("agents do not continue a turn that is begun for them; use a task without gen_prefix.")
        return forms.pack(chat_history)

    def get_model_info(self) -> dict[str, Any]:
        """For the ``config`` of the results."""
        return {"aiflow_subject": self.subject.name, "parallel": self.parallel, "deadline": self.deadline}

    def generate_until(self, requests: Sequence[Asked], disable_tqdm: bool = False) -> list[str]:
        """A text for each request, cut at the strings that end it. Raises InputError for settings unknown to us."""
        del disable_tqdm
        asks = [(forms.messages(context), *forms.options(settings)) for context, settings in (r.args for r in requests)]

        async def every() -> list[str]:
            gate = asyncio.Semaphore(self.parallel)

            async def one(number: int, talk: tuple[Message, ...], options: Any, until: tuple[str, ...]) -> str:
                turns = tuple(m.text for m in talk if m.role == "user")
                sample = Sample(id=str(number), category="lm-eval", turns=turns, options=options)
                async with gate:
                    return forms.cut(await self._reply(talk, sample), until)

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(number, *ask)) for number, ask in enumerate(asks)]
            return [task.result() for task in tasks]

        try:
            return aio.run(every())
        except* BudgetSpentError as spent:
            raise spent.exceptions[0] from None

    def loglikelihood(self, requests: Sequence[Asked], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood of the continuation, whether it is greedy) for each request. Raises InputError."""
        del disable_tqdm
        scorer = self._scores()

        def one(context: str, text: str) -> tuple[float, bool]:
            packed = context.startswith(forms.CHAT)
            return scorer.continuation(forms.messages(context) if packed else context, text)

        return self._each(one, requests)

    def loglikelihood_rolling(self, requests: Sequence[Asked], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of each whole text. Raises InputError."""
        del disable_tqdm
        return self._each(self._scores().whole, requests)

    def _scores(self) -> Scorer:
        self._scorer = self._scorer or scorer_of(self.subject)
        if self._scorer is None:
            raise InputError(
                f"{self.subject.name} gives no logits, and these tasks compare log-likelihoods; use generative ones "
                "(mmlu_generative, bbh_cot_zeroshot, gsm8k_cot ...), or a local transformers model by its string."
            )
        return self._scorer

    def _each(self, score: Callable[..., T], requests: Sequence[Asked]) -> list[T]:
        self.counts["requests"] += len(requests)
        try:
            return [score(*request.args) for request in requests]
        finally:
            self._scores().close()

    async def _reply(self, talk: tuple[Message, ...], sample: Sample) -> str:
        self.counts["requests"] += 1
        try:
            async with asyncio.timeout(self.deadline):
                return (await self.subject.reply(talk, sample)).text
        except BudgetSpentError:
            raise
        except AiflowError as error:
            self._failed(error)
        except TimeoutError:
            self._failed(DeadlineError(f"no answer within {self.deadline} s.", self.subject.name))
        return ""

    def _failed(self, error: AiflowError) -> None:
        self.counts["errors"] += 1
        if not self.first_error:
            self.first_error = f"{type(error).__name__}: {error}"
            print(f"{self.subject.name} could not answer: {self.first_error}", file=sys.stderr)
