"""AlpacaEval 2.0 live: 805 instructions, each output compared with the baseline's by a judge's first token.

The score of an answer is the judge's probability that it is the better one, in percent; their mean is the win rate.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aiflow.bench.judges.judge import Judge
from aiflow.bench.plain import plain
from aiflow.bench.suite import Grade, Grader, Judgment, Record, Sample, Suite
from aiflow.bench.suites.alpaca_eval import annotations, data
from aiflow.bench.suites.alpaca_eval.data import NAME, Control
from aiflow.bench.suites.alpaca_eval.length_control import length_controlled
from aiflow.bench.suites.alpaca_eval.score import DRAW, mean, preference, switched, win_rate
from aiflow.bench.suites.replayed import Replayed
from aiflow.errors import BackendError, DataError, InputError
from aiflow.types import Answer, Message, Options

FIRST, SECOND = "m", "M"
JUDGED = Options(max_tokens=1, temperature=1.0, seed=0, top_logprobs=5)
ANSWERED = Options(max_tokens=2048, temperature=0.7, seed=0)
BEST = 100.0
VARIANTS = ("probabilities", "words")


def suite(
    folder: Path | None = None,
    judge: Judge | None = None,
    *,
    dataset: str | None = None,
    options: Options = ANSWERED,
    variant: str = VARIANTS[0],
) -> Suite:
    """The suite from a folder (None: a default one, else fetched). Raises DataError that names a missing file.

    ``judge`` None: outputs are graded by the folder's recorded judgments of them. ``dataset``: only the instructions
    of one of the five sources, e.g. ``koala``. ``options``: how answers are generated; AlpacaEval leaves that to each
    model. ``variant`` "words": where the judge's server reports no probabilities, its word counts as a sure verdict,
    which is not AlpacaEval 2.0's rule but works with any server.
    """
    if variant not in VARIANTS:
        raise InputError(f"AlpacaEval has no variant {variant!r}; use one of {', '.join(VARIANTS)}.")
    asked = data.questions(folder)
    kinds = sorted({question.dataset for question in asked})
    if dataset is not None and dataset not in kinds:
        raise DataError(f"AlpacaEval has no dataset {dataset!r}; use one of {', '.join(kinds)}.")
    samples = tuple(
        Sample(
            id=question.id,
            category=question.dataset,
            turns=(question.instruction,),
            options=options,
            data={"baseline": question.baseline},
        )
        for question in asked
        if dataset in (None, question.dataset)
    )
    grade: Grader
    if judge is None:
        grade = known = _recorded(folder, samples)
        graders = known.of
    else:
        grade, graders = ByJudge(judge, data.prompt(folder), variant == "words"), None
    figures = summary(samples, folder)
    return Suite(name=NAME, samples=samples, grade=grade, graders=graders, best=BEST, unit="%", summary=figures)


@dataclass(frozen=True)
class ByJudge:
    """Asks the judge which output is better; ``template`` is its prompt."""

    judge: Judge
    template: tuple[Message, ...]
    words: bool = False

    async def __call__(self, sample: Sample, said: Sequence[str]) -> Grade:
        """Equal outputs are a draw, unasked. Raises BackendError where the judge reports no probabilities."""
        own, base, instruction = said[-1], sample.data["baseline"], sample.turns[0]
        if own == base:
            return Grade(score=BEST * (DRAW - 1))
        turned = switched(instruction)
        shown = (own, base) if turned else (base, own)

        def read(answer: Answer) -> float | None:
            pair = self._probabilities(answer)
            return preference(*pair, turned)

        prompt = data.filled(self.template, instruction, *shown)
        heard = await self.judge.hear(prompt, read, options=JUDGED)
        score = None if heard.value is None else BEST * (heard.value - 1)
        judgment = replace(
            heard.judgment,
            verdict=_verdict(heard.value, turned),
            score=score,
            data={**heard.judgment.data, "order": "model, baseline" if turned else "baseline, model"},
        )
        return Grade(score=score, judgments=(judgment,))

    def _probabilities(self, answer: Answer) -> tuple[float | None, float | None]:
        """The log probabilities of "m" and "M" as the first token; a token that is not among the likeliest: None."""
        word = answer.text.strip()
        if answer.logprobs:
            top = dict(reversed(answer.logprobs[0]))  # of a token that stands there twice, the likelier
            unknown = word in (FIRST, SECOND) and word not in top  # it was said, so its probability is not 0
            return (None, None) if unknown else (top.get(FIRST), top.get(SECOND))
        if self.words:
            return (0.0 if word == FIRST else None), (0.0 if word == SECOND else None)
        if word:
            raise BackendError(
                f"the judge {self.judge.name} reports no token probabilities, which AlpacaEval 2.0 is scored by; use a"
                " server that does (top_logprobs: OpenAI, vLLM, llama.cpp, a local model), or accept its words as"
                " verdicts with --variant words.",
                self.judge.name,
            )
        return None, None


def summary(samples: Sequence[Sample], folder: Path | None) -> Callable[[Sequence[Record]], dict[str, Any]]:
    """The leaderboard's figures of one subject's records, ``win_rate`` first; ``errors`` are left out, and counted.

    Difficulties go by the instruction, so a subject with errors is not scored by AlpacaEval's row numbers.
    """
    baseline = {sample.id: len(sample.data["baseline"]) for sample in samples}
    try:
        control, why = data.control(folder), ""
    except DataError as error:
        control, why = None, str(error)

    def figures(records: Sequence[Record]) -> dict[str, Any]:
        there = [(record.sample, record.turns[0]) for record in records if not record.turns[0].error]
        preferences = [None if turn.score is None else 1 + turn.score / BEST for _, turn in there]
        lengths = [len(turn.text) for _, turn in there]
        rate = win_rate(preferences)
        found: dict[str, Any] = {"win_rate": rate.win_rate, "length_controlled_winrate": None, **asdict(rate)}
        found["avg_length"] = int(mean(np.array(lengths, dtype=np.float64))) if lengths else None
        found["errors"] = len(records) - len(there)
        try:
            found |= _controlled([key for key, _ in there], preferences, lengths, baseline, control, why)
        except DataError as error:
            found["length_controlled_note"] = str(error)
        known: dict[str, Any] = plain(found)
        return known

    return figures


def _controlled(
    ids: Sequence[str],
    preferences: Sequence[float | None],
    lengths: Sequence[int],
    baseline: dict[str, int],
    control: Control | None,
    why: str,
) -> dict[str, Any]:
    if control is None:
        raise DataError(why)
    if strange := [key for key in ids if int(key) >= control.difficulty.size]:
        raise DataError(f"no difficulty of instruction {strange[0]} is known.")
    hard = [control.difficulty[int(key)] for key in ids]
    found = length_controlled(preferences, lengths, [baseline[key] for key in ids], hard, control.gamed)
    return {
        "length_controlled_winrate": found.length_controlled_winrate,
        "lc_standard_error": found.lc_standard_error,
        "C": found.C,
    }


def answers(folder: Path | None = None) -> dict[str, dict[str, tuple[str, ...]]]:
    """Model -> sample id -> its recorded output, of the models whose outputs and judgments are both recorded."""
    said = data.outputs(folder)
    judged = {one.model: set(one.ids) for one in annotations.load(folder)}
    return {m: {key: text for key, text in rows.items() if key in judged[m]} for m, rows in said.items() if m in judged}


def _recorded(folder: Path | None, samples: Sequence[Sample]) -> Replayed:
    """Of all models whose outputs and judgments are recorded."""
    said, turned = data.outputs(folder), {sample.id: switched(sample.turns[0]) for sample in samples}
    return Replayed(
        {
            one.model: {
                (key, 1): (said[one.model][key][0], _grade(float(found), turned[key]))
                for key, found in zip(one.ids, one.preference_N, strict=True)
                if key in said[one.model] and key in turned
            }
            for one in annotations.load(folder)
            if one.model in said
        }
    )


def _grade(found: float, turned: bool) -> Grade:
    """Of a recorded preference, NaN where it could not be read."""
    score = None if math.isnan(found) else BEST * (found - 1)
    verdict = _verdict(None if score is None else found, turned)
    return Grade(score=score, judgments=(Judgment(judge="recorded", text="", verdict=verdict, score=score),))


def _verdict(found: float | None, turned: bool) -> str:
    """The likelier token, "=" if both are; empty if none was read."""
    if found is None or found == DRAW:
        return "" if found is None else "="
    return FIRST if (found > DRAW) == turned else SECOND
