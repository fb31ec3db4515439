"""The clock on the wall: one process, one pair of models, equal texts; ours beside the target alone and transformers'.

Every system answers every prompt in turn. What is compared is the time after the first token, so that the prompt's
reading, which all share, hides nothing: the time of the whole answer less that of its first token, both measured.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from aiflow.bench.threads import cpu_threads
from aiflow.collaboration.decoding import chain
from aiflow.collaboration.decoding.engine import Engine
from aiflow.collaboration.decoding.law import Law
from aiflow.collaboration.decoding.members import FamilyEngine
from aiflow.collaboration.decoding.rules import Greedy
from aiflow.collaboration.decoding.tier import Job, Plan, Tier
from aiflow.collaboration.familial.family import Family, Member

LENGTHS = (2, 3, 4, 6, 8)
"""Draft lengths that every system is tried with, on prompts that are not counted."""
CATEGORIES = ("arithmetic", "word_problems", "code", "text")
LIMIT = 64
END = 2
"""The nano family's end of text (`nano.tokenizer.EOS`)."""
Ids = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class System:
    """``answer`` (prompt, most tokens) -> tokens."""

    name: str
    answer: Callable[[Ids, int], list[int]]


@dataclass(kw_only=True)
class Tally:
    """Tokens, proposals accepted and judged, and the target's rounds."""

    tokens: int = 0
    accepted: int = 0
    judged: int = 0
    rounds: int = 0


def run(
    folder: Path, drafts: Sequence[Member], *, prompts: int = 48, repeats: int = 3, seed: int = 7
) -> dict[str, Any]:
    """Times of all systems with the best draft of ``drafts`` and each system's best length, as JSON."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    family = Family.from_pretrained(folder, dtype="float32")
    asked = questions(tokenizer, prompts + 16, seed)
    counted, tried = asked[16:], asked[:16]
    with cpu_threads(1):
        pick = {m: tune(partial(_familial, family, m), tried) for m in drafts}
        draft = min(pick, key=lambda m: pick[m][1])
        systems = [target(family), plain(family)]
        chosen: dict[str, Callable[[int], System]] = {
            "transformers assisted": partial(assisted, family, draft),
            "separate drafter": partial(_separate, family, draft),
            "familial": partial(_familial, family, draft),
        }
        lengths = {name: tune(make, tried)[0] for name, make in chosen.items()}
        systems += [make(lengths[name]) for name, make in chosen.items()]
        times, texts = measure(systems, counted, repeats)
        accepted = acceptance(family, draft, lengths["familial"], counted)
    base = times["target alone"]
    equal = {name: said == texts["target alone"] for name, said in texts.items()}
    fastest = min(times["separate drafter"], times["familial"])
    return {
        "draft": str(draft),
        "lengths": lengths,
        "prompts": len(counted),
        "tokens": sum(map(len, texts["target alone"])),
        "ms_per_token": {name: 1e3 * t for name, t in times.items()},
        "vs_target": base / times["familial"],
        "vs_transformers": times["transformers"] / times["familial"],
        "vs_assisted": times["transformers assisted"] / times["familial"],
        "familial_vs_separate": times["separate drafter"] / times["familial"],
        "best_vs_target": base / fastest,
        "equal_text": all(equal.values()),
        "equal": equal,
        **accepted,
    }


def questions(tokenizer: Any, count: int, seed: int) -> list[Ids]:
    """Prompts of the text skills with longer answers, with the right history."""
    from aiflow.nano import questions as nano
    from aiflow.nano import tokenizer as tok
    from aiflow.nano.data.dialogue import ask

    found: list[Ids] = []
    for question in nano.suite(count * 4, seed):
        if question.category in CATEGORIES and len(found) < count:
            talk = ask(question.turns[0], question.references[0]) + ask(question.turns[1], "")
            ids, _ = tok.encode(tokenizer, talk[:-1])
            found.append((*ids, tok.ASSISTANT))
    return found


def measure(
    systems: Sequence[System], prompts: Sequence[Ids], repeats: int
) -> tuple[dict[str, float], dict[str, list[list[int]]]]:
    """Seconds per token after the first one (the median over repeats), and the texts, by system."""
    texts: dict[str, list[list[int]]] = {s.name: [] for s in systems}
    runs: dict[str, list[float]] = {s.name: [] for s in systems}
    for turn in range(repeats):
        spent = dict.fromkeys(runs, 0.0)
        for prompt in prompts:
            for system in systems:
                begun = time.perf_counter()
                system.answer(prompt, 1)
                middle = time.perf_counter()
                said = system.answer(prompt, LIMIT)
                spent[system.name] += (time.perf_counter() - middle) - (middle - begun)
                if not turn:
                    texts[system.name].append(said)
        for name, seconds in spent.items():
            runs[name].append(seconds / sum(len(said) - 1 for said in texts[name]))
    return {name: statistics.median(found) for name, found in runs.items()}, texts


def tune(make: Callable[[int], System], prompts: Sequence[Ids]) -> tuple[int, float]:
    """The fastest draft length, and its seconds per token."""
    times = {g: next(iter(measure([make(g)], prompts, 1)[0].values())) for g in LENGTHS}
    best = min(times, key=lambda g: times[g])
    return best, times[best]


def target(family: Family) -> System:
    """The full model alone, by our own engine."""
    full = Member(exit=family.depth)
    engine = FamilyEngine(family, [full]).view(full)

    def answer(prompt: Ids, limit: int) -> list[int]:
        tier = Tier(_job(prompt, limit), Greedy(law=Law()), Plan(eager=True), bottom=True, top=True)
        return _chain([chain.Station(tier=tier, engine=engine)])

    return System(name="target alone", answer=answer)


def ours(family: Family, draft: Member, length: int, *, shared: bool) -> System:
    """A member drafts for the full model; ``shared``: what both compute is computed once."""
    full = Member(exit=family.depth)
    if shared:
        both = FamilyEngine(family, [draft, full])
        engines: list[Engine] = [both.view(draft), both.view(full)]
    else:
        engines = [FamilyEngine(family, [m]).view(m) for m in (draft, full)]

    def answer(prompt: Ids, limit: int) -> list[int]:
        return _chain(pair(prompt, limit, engines, length))

    return System(name="familial" if shared else "separate drafter", answer=answer)


def _familial(family: Family, draft: Member, length: int) -> System:
    return ours(family, draft, length, shared=True)


def _separate(family: Family, draft: Member, length: int) -> System:
    return ours(family, draft, length, shared=False)


def pair(prompt: Ids, limit: int, engines: Sequence[Engine], length: int) -> list[chain.Station]:
    """A drafting and a judging tier."""
    job, plan = _job(prompt, limit), Plan(block=length, ahead=length)
    return [
        chain.Station(tier=Tier(job, Greedy(law=Law()), plan, bottom=k == 0, top=k == 1), engine=engine)
        for k, engine in enumerate(engines)
    ]


def plain(family: Family) -> System:
    """transformers' own greedy generation."""
    return System(name="transformers", answer=_generate(family.backbone))


def assisted(family: Family, draft: Member, length: int) -> System:
    """transformers' assisted generation with the same pair."""
    assistant = family.member(draft)
    config = assistant.generation_config
    config.num_assistant_tokens, config.num_assistant_tokens_schedule = length, "constant"
    config.assistant_confidence_threshold = 0.0
    return System(name="transformers assisted", answer=_generate(family.backbone, assistant_model=assistant))


def acceptance(family: Family, draft: Member, length: int, prompts: Sequence[Ids]) -> dict[str, float]:
    """Share of judged proposals that are accepted, and tokens of a round."""
    full, tally = Member(exit=family.depth), Tally()
    both = FamilyEngine(family, [draft, full])
    for prompt in prompts:
        stations = pair(prompt, LIMIT, [both.view(draft), both.view(full)], length)
        tally.rounds += chain.run(stations).passes[1]
        top = stations[1].tier
        tally.accepted, tally.judged = tally.accepted + top.accepted, tally.judged + top.judged
        tally.tokens += len(top.answer)
        both.close(1)
    return {"acceptance": tally.accepted / tally.judged, "mean_accepted": tally.tokens / tally.rounds - 1}


def _chain(stations: list[chain.Station]) -> list[int]:
    if len(stations) == 1:
        while chain.step(stations[0]):
            pass
    else:
        chain.run(stations)
    for station in stations:
        station.engine.close(1)
    return stations[0].tier.answer


def _generate(model: Any, **extra: Any) -> Callable[[Ids, int], list[int]]:
    def answer(prompt: Ids, limit: int) -> list[int]:
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=limit,
                do_sample=False,
                eos_token_id=END,
                pad_token_id=0,
                **extra,
            )
        found: list[int] = out[0, len(prompt) :].tolist()
        return found

    return answer


def _job(prompt: Ids, limit: int) -> Job:
    return Job(session=1, prompt=prompt, limit=limit, ends=frozenset([END]))
