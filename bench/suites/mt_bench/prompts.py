"""The judge's prompts, from FastChat's ``judge_prompts.jsonl``: which template is meant for which answer, filled in.

The texts stay in the data folder; known here are only their names and which places they have to fill.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from pydantic import BaseModel

from aiflow.bench.suite import Sample
from aiflow.bench.suites import files
from aiflow.bench.suites.mt_bench.data import PROMPTS, URLS
from aiflow.errors import DataError
from aiflow.types import Message

NEED_REFERENCE = frozenset({"math", "reasoning", "coding"})
"""The categories that are judged against GPT-4's reference answers."""
_REFERENCES = {"ref_answer_1", "ref_answer_2"}
_PLACES = {
    "single-v1": {"question", "answer"},
    "single-v1-multi-turn": {"question_1", "question_2", "answer_1", "answer_2"},
    "pair-v2": {"question", "answer_a", "answer_b"},
    "pair-v2-multi-turn": {"question_1", "question_2", "answer_a_1", "answer_a_2", "answer_b_1", "answer_b_2"},
}
_MATH = {"single-v1": "single-math-v1", "pair-v2": "pair-math-v1"}


class _Row(BaseModel):
    name: str
    system_prompt: str
    prompt_template: str


@dataclass(frozen=True)
class Prompts:
    """The templates by name: (system prompt, prompt)."""

    templates: Mapping[str, tuple[str, str]]

    @classmethod
    def read(cls, folder: Path) -> "Prompts":
        """All eight. Raises DataError for one that is missing, or that has other places than the protocol's."""
        path = folder / PROMPTS
        rows = files.rows(path, f"get it from {URLS[PROMPTS]}")
        read = [files.checked(_Row.model_validate, row, f"{path}:{number}") for number, row in rows]
        files.unique((row.name for row in read), str(path))
        found = {row.name: (row.system_prompt, row.prompt_template) for row in read}
        for base, places in _PLACES.items():
            plain = base.removesuffix("-multi-turn")
            for name, allowed in ((base, places), (base.replace(plain, _MATH[plain]), places | _REFERENCES)):
                _check(path, name, found, places, allowed)
        return cls(found)

    def single(self, sample: Sample, said: Sequence[str]) -> list[Message]:
        """Asks for a rating of the last of the texts that were ``said`` to the sample's turns."""
        if len(said) == 1:
            return self._fill("single-v1", sample, "", question=sample.turns[0], answer=said[0])
        talk = {"question_1": sample.turns[0], "question_2": sample.turns[1]}
        return self._fill("single-v1", sample, "-multi-turn", **talk, answer_1=said[0], answer_2=said[1])

    def pair(self, sample: Sample, a: Sequence[str], b: Sequence[str]) -> list[Message]:
        """Asks which of two models' answers to the sample's last turn so far is better."""
        if len(a) == 1:
            return self._fill("pair-v2", sample, "", question=sample.turns[0], answer_a=a[0], answer_b=b[0])
        texts = {"question_1": sample.turns[0], "question_2": sample.turns[1], "answer_a_1": a[0], "answer_a_2": a[1]}
        return self._fill("pair-v2", sample, "-multi-turn", **texts, answer_b_1=b[0], answer_b_2=b[1])

    def _fill(self, base: str, sample: Sample, turn: str, **texts: str) -> list[Message]:
        name = base + turn
        if sample.category in NEED_REFERENCE:
            name = _MATH[base] + turn
            texts |= {f"ref_answer_{n}": reference for n, reference in enumerate(sample.references, 1)}
        system, template = self.templates[name]
        return [Message("system", system), Message("user", template.format(**texts))]


def _check(path: Path, name: str, found: Mapping[str, tuple[str, str]], needed: set[str], allowed: set[str]) -> None:
    if name not in found:
        raise DataError(f"{path} lacks the template {name!r}; get the file from {URLS[PROMPTS]}.")
    try:
        places = {place for _, place, _, _ in Formatter().parse(found[name][1]) if place is not None}
    except ValueError as error:
        raise DataError(f"{path}: the template {name!r} cannot be filled ({error}); get it anew.") from error
    if not needed <= places <= allowed:
        raise DataError(
            f"{path}: the template {name!r} has the places {sorted(places)}, not {sorted(allowed)}; get it anew."
        )
