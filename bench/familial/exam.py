"""The nine visual forms as an examination of many members of one family: questions are drawn and pictures seen once.

The marks are those of `aiflow.nano.family.evaluate.visual`, member by member. Knows no statistics.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from types import SimpleNamespace
from typing import Any

from aiflow.collaboration.familial.family import Family, Member
from aiflow.nano import tokenizer as tok
from aiflow.nano.data.dialogue import ask
from aiflow.nano.family.batches import encode
from aiflow.nano.family.evaluate import LIMIT, Marks, answer, average
from aiflow.nano.visual import suites
from aiflow.nano.visual.questions import FORMS


@dataclass(frozen=True, kw_only=True)
class Found:
    """The marks of one member, and how long it took."""

    marks: Marks
    seconds: float

    def average(self, forms: Sequence[str]) -> float:
        """The mean score over some forms."""
        return average(self.marks, forms)


class Exam:
    """``items`` questions of each form, as token ids of ``tokenizer``. Raises InputError for a negative number."""

    def __init__(self, tokenizer: Any, items: int, forms: Sequence[str] = FORMS, seed: int = suites.SEED) -> None:
        self.tokenizer = tokenizer
        self.items = {form: suites.suite(form, items, seed) for form in forms}  # type: ignore[arg-type]
        self.prompts = {form: [self._prompt(item) for item in found] for form, found in self.items.items()}

    def marks(self, family: Family, members: Sequence[Member]) -> Iterator[Found]:
        """The marks of each member, one after the other."""
        with remembered(family.backbone):
            for member in members:
                start = time.perf_counter()
                model = family.member(member)
                marks = {form: self._form(model, form) for form in self.items}
                yield Found(marks=marks, seconds=time.perf_counter() - start)

    def _prompt(self, item: suites.Item) -> tuple[list[int], Any]:
        ids, _, image = encode(self.tokenizer, (item.image, ask(item.prompt, "")[:1]))
        return [*ids, tok.ASSISTANT], image

    def _form(self, model: Any, form: str) -> list[float]:
        said = answer(model, self.tokenizer, self.prompts[form], limit=LIMIT)
        return [suites.mark(item, text) for item, text in zip(self.items[form], said, strict=True)]


@contextmanager
def remembered(backbone: Any) -> Iterator[None]:
    """Within it, a LLaVA-type model and its views compute the image features of each batch of pictures once."""
    inner = backbone.model
    compute, known = inner.get_image_features, dict[bytes, Any]()

    def features(pixel_values: Any, **options: Any) -> Any:
        key = blake2b(pixel_values.contiguous().numpy().tobytes(), digest_size=16).digest()
        if key not in known:
            known[key] = compute(pixel_values=pixel_values, **options).pooler_output
        return SimpleNamespace(pooler_output=known[key])

    inner.get_image_features = features
    try:
        yield
    finally:
        del inner.get_image_features
