"""Scores of a family's members on the held-out suites: nine visual forms, and six text skills.

Direct use of the models (no cluster, no graph); greedy, fp32.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from aiflow.nano import tokenizer as tok
from aiflow.nano.data.dialogue import Dialogue, ask
from aiflow.nano.family.model import IMAGE, PATCHES, pixels
from aiflow.nano.questions import CATEGORIES, SEED, check, suite
from aiflow.nano.visual import suites
from aiflow.nano.visual.questions import FORMS

Marks = dict[str, list[float]]
"""By suite, the mark (0..1) of each item in order, so that members can be compared item by item."""
TEXT = CATEGORIES[:6]
LIMIT = 16
"""Tokens of an answer to a visual question; the longest right ones name five colours, then yes or no."""
Prompt = tuple[list[int], Any]


def visual(model: Any, tokenizer: Any, n: int, *, forms: Sequence[str] = FORMS, seed: int = suites.SEED) -> Marks:
    """Marks of a LLaVA-type model on the first ``n`` items of each form."""
    found: Marks = {}
    for form in forms:
        items = suites.suite(form, n, seed)  # type: ignore[arg-type]
        said = answer(model, tokenizer, [_asked(tokenizer, ask(i.prompt, ""), i.image) for i in items], limit=LIMIT)
        found[form] = [suites.mark(item, text) for item, text in zip(items, said, strict=True)]
    return found


def text(model: Any, tokenizer: Any, n: int, *, seed: int = SEED) -> Marks:
    """Marks on the two-turn text suite: ``n`` questions of each of six categories, each turn with the right history."""
    questions = [q for q in suite(n * len(CATEGORIES), seed) if q.category in TEXT]
    cases = [(q, turn) for q in questions for turn in (0, 1)]
    talks = [ask(q.turns[0], q.references[0]) + (ask(q.turns[1], "") if turn else ()) for q, turn in cases]
    prompts = [
        _asked(tokenizer, talk if turn else talk[:1], None) for talk, (_, turn) in zip(talks, cases, strict=True)
    ]
    found: Marks = {category: [] for category in TEXT}
    for (q, turn), said in zip(cases, answer(model, tokenizer, prompts, limit=48), strict=True):
        found[q.category].append(float(check(q, turn, said)))
    return found


def _asked(tokenizer: Any, dialogue: Dialogue, image: Any) -> Prompt:
    """Token ids up to where the assistant's last turn begins."""
    turns = dialogue[:-1] if dialogue[-1].role == "assistant" else dialogue
    ids, _ = tok.encode(tokenizer, turns)
    if image is not None:
        ids = [*ids[:2], *([IMAGE] * PATCHES), *ids[2:]]
    return [*ids, tok.ASSISTANT], image


@torch.inference_mode()
def answer(model: Any, tokenizer: Any, prompts: Sequence[Prompt], *, limit: int, batch: int = 64) -> list[str]:
    """Greedy answers of at most ``limit`` tokens; prompts are batched by length."""
    import numpy as np

    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i][0]))
    said = [""] * len(prompts)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        width = max(len(prompts[i][0]) for i in chosen)
        ids = torch.tensor([[tok.PAD] * (width - len(prompts[i][0])) + prompts[i][0] for i in chosen])
        images = [prompts[i][1] for i in chosen if prompts[i][1] is not None]
        extra = {"pixel_values": pixels(np.stack(images))} if images else {}
        out = model.generate(
            input_ids=ids,
            attention_mask=(ids != tok.PAD).long(),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=tok.EOS,
            pad_token_id=tok.PAD,
            **extra,
        )
        for i, row in zip(chosen, tokenizer.batch_decode(out[:, width:], skip_special_tokens=True), strict=True):
            said[i] = row.strip()
    return said


def means(marks: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The score of each suite."""
    return {name: sum(values) / len(values) for name, values in marks.items()}


def average(marks: Mapping[str, Sequence[float]], names: Sequence[str]) -> float:
    """The mean score over some suites."""
    found = means(marks)
    return sum(found[name] for name in names) / len(names)


def members(
    family: Any, wanted: Sequence[Any], measure: Callable[[Any], Marks], say: Callable[[str], None] = lambda _: None
) -> dict[Any, Marks]:
    """The marks of several members of one family."""
    found = {}
    for member in wanted:
        found[member] = measure(family.member(member))
        say(f"member {member}: {', '.join(f'{k} {v:.3f}' for k, v in means(found[member]).items())}")
    return found
