"""A server without a model: selects by what is known of the devices, merges by picking the most central answer.

It answers the graphs' own prompts (``aiflow.prompts``), so the graph is the one that people use. It picks one device
per conversation and stays with it, since a recorded second answer continues that device's own first one.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np

from aiflow.bench.stats import Floats
from aiflow.bench.suite import Sample
from aiflow.errors import InputError
from aiflow.types import Answer, Delta, Options, conversation

Expected = Mapping[str, Mapping[str, float]]
"""Sample id -> model -> the rating expected of it, from other questions."""
_COUNT = re.compile(r"Name the (\d+) best suited")


class ExtractiveServer:
    """Knows the questions and what to expect of each device; ``expected`` empty: all devices count the same.

    ``temperature`` is how many points of expected rating make a device e times as credible.
    """

    name, about, node = "server", "selecting and merging without a model", "cloud"

    def __init__(
        self, samples: Sequence[Sample], abouts: Mapping[str, str], expected: Expected, *, temperature: float = 1.0
    ) -> None:
        self._samples = sorted(samples, key=lambda sample: -len(sample.turns[0]))
        self._listed = {name: f"\n- {name}: {about}\n" for name, about in abouts.items()}
        self._marks = {name: f"\n- {name} ({about}): " for name, about in abouts.items()}
        self._expected, self._temperature = expected, temperature
        self._chosen: dict[str, str] = {}

    async def ask(
        self,
        messages: Any,
        *,
        sender: str | None = None,  # noqa: ARG002 - it sits where its askers sit
        options: Options | None = None,  # noqa: ARG002 - nothing is generated
        deadline: float | None = None,  # noqa: ARG002 - answers at once
    ) -> Answer:
        """Answers a select prompt with names and a best-of-n prompt with one name. Raises InputError otherwise."""
        prompt = conversation(messages)[-1].text
        sample, later = self._sample(prompt)
        if count := _COUNT.search(prompt, prompt.rfind("\n\nName the")):
            return Answer(text=", ".join(self._select(prompt, sample, later, int(count[1]))), agent=self.name)
        if not prompt.endswith("Name the assistant with the best answer."):
            raise InputError("the extractive server selects and picks, it writes nothing; use merge='best_of_n'.")
        return Answer(text=self._pick(prompt, sample, later), agent=self.name)

    async def stream(self, messages: Any, **how: Any) -> AsyncIterator[Delta | Answer]:
        """The whole answer as one piece."""
        answer = await self.ask(messages, **how)
        yield Delta(text=answer.text)
        yield answer

    def _sample(self, prompt: str) -> tuple[Sample, bool]:
        for sample in self._samples:
            head = f"User: {sample.turns[0].strip()}\n"
            if prompt.startswith(head):
                return sample, prompt.startswith("Assistant: ", len(head))
        raise InputError(f"the extractive server does not know the question {prompt[:60]!r}.")

    def _select(self, prompt: str, sample: Sample, later: bool, count: int) -> list[str]:
        known = self._expected.get(sample.id, {})
        listed = [name for name, mark in self._listed.items() if mark in prompt]
        names = sorted(listed, key=lambda name: -known.get(name, 0.0))
        if later and self._chosen.get(sample.id) in names:
            names.remove(self._chosen[sample.id])
            names.insert(0, self._chosen[sample.id])
        if count == 1 and not later:
            self._chosen[sample.id] = names[0]
        return names[:count]

    def _pick(self, prompt: str, sample: Sample, later: bool) -> str:
        said = self._said(prompt)
        if later and self._chosen.get(sample.id) in said:
            return self._chosen[sample.id]
        known = self._expected.get(sample.id, {})
        names = list(said)
        trust_N = np.array([known.get(name, 0.0) for name in names]) / self._temperature
        picked = names[central(list(said.values()), np.exp(trust_N - trust_N.max()))]
        if not later:
            self._chosen[sample.id] = picked
        return picked

    def _said(self, prompt: str) -> dict[str, str]:
        at = sorted((prompt.find(mark), name) for name, mark in self._marks.items() if mark in prompt)
        ends = [place for place, _ in at[1:]] + [prompt.rfind("\n\nName the")]
        return {n: prompt[p + len(self._marks[n]) : end] for (p, n), end in zip(at, ends, strict=True)}


def central(texts: Sequence[str], weight_N: Floats) -> int:
    """The text most similar to all, each counted by its weight: the minimum-Bayes-risk choice under that belief."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(re.search(r"\w\w", text) for text in texts):
        return int(np.argmax(weight_N))
    rows = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts)
    alike_NN = (rows @ rows.T).toarray()
    return int(np.argmax(alike_NN @ weight_N))
