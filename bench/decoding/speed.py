"""The clock on the wall: one process, one target, equal texts; ours beside the target alone and transformers'.

A separate drafter is a member of the family with caches of its own, which transformers' assisted generation gets too.
Familial drafting shares what the target computes: by a member, or by a drafter that reads the target's states.
Every system answers every prompt in turn. What is compared is the time after the first token, so that the prompt's
reading, which all share, hides nothing: the time of the whole answer less that of its first token, both measured.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aiflow.bench.threads import cpu_threads
from aiflow.collaboration.decoding import chain
from aiflow.collaboration.decoding.ahead import AheadEngine
from aiflow.collaboration.decoding.engine import Engine
from aiflow.collaboration.decoding.law import Law
from aiflow.collaboration.decoding.members import FamilyEngine
from aiflow.collaboration.decoding.rules import Greedy
from aiflow.collaboration.decoding.tier import Job, Plan, Tier
from aiflow.collaboration.familial.drafter import Drafter
from aiflow.collaboration.familial.family import Family, Member

LENGTHS = (2, 3, 4, 6, 8)
"""Draft lengths that every system is tried with, on prompts that are not counted."""
CATEGORIES = ("arithmetic", "word_problems", "code", "text")
LIMIT = 64
DRAFTER = "drafter"
END = 2
"""The nano family's end of text (`nano.tokenizer.EOS`)."""
Ids = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class System:
    """``answer`` (prompt, most tokens) -> tokens, by ``engines``, if they are ours and two."""

    name: str
    answer: Callable[[Ids, int], list[int]]
    engines: Sequence[Engine] = ()


class Pairs:
    """The ways to speed up one target. Engines are made once for all draft lengths."""

    def __init__(self, family: Family, drafter: Drafter | None = None) -> None:
        """``drafter``: the family's own, if there is one."""
        self.family, self.drafter, self.full = family, drafter, Member(exit=family.depth)
        self.alone = FamilyEngine(family)
        self.target = self.alone.view(self.full)

    def separate(self, member: Member) -> Callable[[int], System]:
        """A member drafts; nothing is shared."""
        engine = FamilyEngine(self.family, [member]).view(member)
        return lambda length: self._system("separate drafter", [engine, self.target], length)

    def shared(self, member: Member) -> Callable[[int], System]:
        """A member drafts; what the target needs of it is kept."""
        both = FamilyEngine(self.family, [member, self.full])
        return lambda length: self._system("familial", [both.view(member), both.view(self.full)], length)

    def ahead(self) -> Callable[[int], System]:
        """The drafter drafts, from the target's states."""
        assert self.drafter is not None
        engines = {n: self.alone.ahead(self.drafter, n) for n in LENGTHS if n <= self.drafter.width}
        longest = max(engines)
        return lambda length: self._system("familial", [engines[min(length, longest)]], length)

    def assisted(self, member: Member) -> Callable[[int], System]:
        """transformers' assisted generation by a member."""
        assistant = self.family.member(member)

        def make(length: int) -> System:
            config = assistant.generation_config
            config.num_assistant_tokens, config.num_assistant_tokens_schedule = length, "constant"
            config.assistant_confidence_threshold = 0.0
            said = _generate(self.family.backbone, assistant_model=assistant)
            return System(name="transformers assisted", answer=said)

        return make

    def plain(self) -> System:
        """transformers' own greedy generation."""
        return System(name="transformers", answer=_generate(self.family.backbone))

    def without(self) -> System:
        """The target alone, by our own engine."""

        return self._system("target alone", [self.target], 1)

    def _system(self, name: str, engines: Sequence[Engine], length: int) -> System:
        def answer(prompt: Ids, limit: int) -> list[int]:
            return _run(prompt, limit, engines, length)[0].answer

        return System(name=name, answer=answer, engines=engines)


def run(
    folder: Path,
    drafts: Sequence[Member],
    *,
    drafter: Path | None = None,
    prompts: int = 48,
    repeats: int = 3,
    seed: int = 7,
) -> dict[str, Any]:
    """Times of all systems, each with its best draft and length, as JSON. ``drafter``: a folder; None: members only."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    family = Family.from_pretrained(folder, dtype="float32")
    asked = questions(tokenizer, prompts + 16, seed)
    counted, tried = asked[16:], asked[:16]
    with cpu_threads(1):
        pairs = Pairs(family, Drafter.from_pretrained(drafter, family) if drafter else None)
        familial = {str(m): pairs.shared(m) for m in drafts}
        if pairs.drafter is not None:
            familial[DRAFTER] = pairs.ahead()
        tuned = {name: tune(make, tried) for name, make in familial.items()}
        draft = min(tuned, key=lambda name: tuned[name][1])
        apart = {m: tune(pairs.separate(m), tried) for m in drafts}
        member = min(apart, key=lambda m: apart[m][1])
        assisted = pairs.assisted(member)
        lengths = {"transformers assisted": tune(assisted, tried)[0], "separate drafter": apart[member][0]}
        lengths["familial"] = tuned[draft][0]
        best = familial[draft](lengths["familial"])
        times, texts = measure(
            [
                pairs.without(),
                pairs.plain(),
                assisted(lengths["transformers assisted"]),
                pairs.separate(member)(lengths["separate drafter"]),
                best,
            ],
            counted,
            repeats,
        )
        accepted = acceptance(best, lengths["familial"], counted)
    base = times["target alone"]
    equal = {name: said == texts["target alone"] for name, said in texts.items()}
    return {
        "draft": draft,
        "separate": str(member),
        "lengths": lengths,
        "prompts": len(counted),
        "tokens": sum(map(len, texts["target alone"])),
        "ms_per_token": {name: 1e3 * t for name, t in times.items()},
        "vs_target": base / times["familial"],
        "vs_transformers": times["transformers"] / times["familial"],
        "vs_assisted": times["transformers assisted"] / times["familial"],
        "separate_vs_assisted": times["transformers assisted"] / times["separate drafter"],
        "familial_vs_separate": times["separate drafter"] / times["familial"],
        "equal_text": all(equal.values()),
        "equal": equal,
        **accepted,
    }


def accepted(folder: Path, draft: Member, prompts: int, seed: int = 7) -> float:
    """The share of a member's proposals that the full model accepts, in drafts of four."""
    from transformers import AutoTokenizer

    family = Family.from_pretrained(folder, dtype="float32")
    asked = questions(AutoTokenizer.from_pretrained(folder), prompts, seed)
    return acceptance(Pairs(family).shared(draft)(4), 4, asked)["acceptance"]


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
                system.answer(prompt, 1)  # brings its weights back into the caches, where another system's are
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


def acceptance(system: System, length: int, prompts: Sequence[Ids]) -> dict[str, float]:
    """Share of judged guesses that are accepted, and how many of them a pass of the target accepts."""
    ahead = next((e for e in system.engines if isinstance(e, AheadEngine)), None)
    before = (ahead.passes, ahead.accepted, ahead.judged) if ahead else (0, 0, 0)
    tokens, counts = 0, (0, 0, 0)
    for prompt in prompts:
        tier, rounds = _run(prompt, LIMIT, system.engines, length)
        tokens += len(tier.answer)
        counts = counts[0] + rounds, counts[1] + tier.accepted, counts[2] + tier.judged
    if ahead:
        counts = ahead.passes, ahead.accepted, ahead.judged
    passes, accepted, judged = (now - then for now, then in zip(counts, before, strict=True))
    return {"acceptance": accepted / judged, "mean_accepted": tokens / passes - 1}


def _run(prompt: Ids, limit: int, engines: Sequence[Engine], length: int) -> tuple[Tier, int]:
    """One tier, or a drafting and a judging one. Returns the highest, and its rounds."""
    job, plan = _job(prompt, limit), Plan(block=length, ahead=length, eager=len(engines) == 1)
    stations = [
        chain.Station(tier=Tier(job, Greedy(law=Law()), plan, bottom=k == 0, top=k == len(engines) - 1), engine=engine)
        for k, engine in enumerate(engines)
    ]
    rounds = 0
    if len(stations) == 1:
        while chain.step(stations[0]):
            rounds += 1
    else:
        rounds = chain.run(stations).passes[-1]
    for station in stations:
        station.engine.close(1)
    return stations[-1].tier, rounds


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
