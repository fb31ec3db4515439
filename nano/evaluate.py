"""Skill scores of the family on the held-out suite, by direct use of the models (no cluster, no graph).

Every skill is asked with the right history: device accuracy on its own categories; the server's selection among the
five devices; merging real device answers; and revision, in the own domain (keep a right answer whatever the joint
answer says) and outside it (adopt the joint answer).
"""

import json
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from aiflow import prompts
from aiflow.nano import DEVICES, WEIGHTS
from aiflow.nano.questions import SEED, Question, check, same, suite
from aiflow.nano.speaker import Message, Speaker

Case = tuple[Question, int]
Score = dict[str, float]
Answers = dict[str, list[str]]
Say = Callable[[str], None]


def history(case: Case) -> list[Message]:
    """The conversation up to the question of this turn, with the reference as the first answer."""
    question, turn = case
    talk = [{"role": "user", "content": question.turns[0]}]
    if turn:
        talk.append({"role": "assistant", "content": question.references[0]})
        talk.append({"role": "user", "content": question.turns[1]})
    return talk


def score(hits: Iterable[bool]) -> Score:
    """Share of hits and how many there were."""
    found = list(hits)
    return {"score": round(sum(found) / len(found), 4) if found else 0.0, "n": len(found)}


def measure(weights: Path = WEIGHTS, n: int = 320, seed: int = SEED, say: Say | None = None) -> dict[str, Any]:
    """All skill scores on the first ``n`` questions: {"suite", "devices", "revise", "server"}; uses two processes."""
    tell = say or (lambda _: None)
    found: dict[str, Any] = {"suite": {"questions": n, "seed": seed}, "devices": {}, "revise": {}, "server": {}}
    answers: Answers = {}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        spoken = pool.map(partial(device, weights, n, seed), DEVICES)
        for name, (said, own, revise) in zip(DEVICES, spoken, strict=True):
            answers[name], found["devices"][name], found["revise"][name] = said, own, revise
            tell(f"{name}: {json.dumps(own)} revise {json.dumps(revise)}")
        skills = pool.map(partial(server, weights, n, seed, answers), ("select", "merge"))
        found["server"] = dict(zip(("select", "merge"), skills, strict=True))
    tell(f"server: {json.dumps(found['server'])}")
    return found


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _cases(n: int, seed: int) -> list[Case]:
    return [(q, turn) for q in suite(n, seed) for turn in (0, 1)]


def device(weights: Path, n: int, seed: int, name: str) -> tuple[list[str], dict[str, Score], dict[str, Score]]:
    """One device: its answers to every turn, its accuracy in its own domain, and how it revises."""
    speaker, cases = Speaker(weights / "base", weights / name), _cases(n, seed)
    answers = speaker.answer([history(c) for c in cases])
    return answers, _own(name, cases, answers), _revise(name, speaker, cases, answers, seed)


def server(weights: Path, n: int, seed: int, answers: Answers, skill: str) -> dict[str, Score]:
    """One skill of the server, "select" or "merge"; merging takes the devices' real answers."""
    speaker, cases = Speaker(weights / "base", weights / "server"), _cases(n, seed)
    return _select(speaker, cases, seed) if skill == "select" else _merge(speaker, cases, answers, seed)


def _own(name: str, cases: list[Case], answers: list[str]) -> dict[str, Score]:
    hits: dict[str, list[bool]] = defaultdict(list)
    for (q, turn), text in zip(cases, answers, strict=True):
        if q.devices[turn] == name:
            hits[f"{q.category}, turn {turn + 1}"].append(check(q, turn, text))
    return {"all": score(h for hs in hits.values() for h in hs), **{k: score(v) for k, v in sorted(hits.items())}}


def _revise(name: str, speaker: Speaker, cases: list[Case], answers: list[str], seed: int) -> dict[str, Score]:
    rng = random.Random(f"{seed} revise {name}")
    kept, adopted = [], []
    for case, text in zip(cases, answers, strict=True):
        q, turn = case
        if q.devices[turn] != name:
            adopted.append((case, text, q.references[turn]))
        elif check(q, turn, text):
            other, late = rng.choice(cases)
            kept.append((case, text, rng.choice((text, other.references[late]))))

    def final(rows: list[tuple[Case, str, str]]) -> list[str]:
        return speaker.answer(
            [
                [
                    *history(c),
                    {"role": "assistant", "content": text},
                    {"role": "user", "content": prompts.revise(joint)},
                ]
                for c, text, joint in rows
            ]
        )

    keeps = [check(*case, said) for (case, _, _), said in zip(kept, final(kept), strict=True)]
    adopts = [same(joint, said) for (_, _, joint), said in zip(adopted, final(adopted), strict=True)]
    return {"keeps right answers in its domain": score(keeps), "adopts the joint answer elsewhere": score(adopts)}


def _talk(case: Case) -> str:
    return prompts.transcript([(m["role"], m["content"]) for m in history(case)])


def _select(server: Speaker, cases: list[Case], seed: int) -> dict[str, Score]:
    rng = random.Random(f"{seed} select")
    asked = []
    for case in cases:
        listed = rng.sample(list(DEVICES.items()), len(DEVICES))
        asked.append(prompts.select(_talk(case), listed, 2))
    said = [[n.strip() for n in t.split(",")] for t in _ask(server, asked)]
    right = [q.devices[turn] for q, turn in cases]
    return {
        "first": score(s[0] == r for s, r in zip(said, right, strict=True)),
        "in two": score(r in s[:2] for s, r in zip(said, right, strict=True)),
        "valid": score(len(set(s)) == 2 and set(s) <= set(DEVICES) for s in said),
    }


def _merge(server: Speaker, cases: list[Case], answers: Answers, seed: int) -> dict[str, Score]:
    """Right answers when the right device is among ``count`` and right: as the server writes, and as it ranks."""
    rng = random.Random(f"{seed} merge")
    scores: dict[str, Score] = {}
    for count in (2, 3, 5):
        rows: list[tuple[Case, str, list[tuple[str, str, str]]]] = []
        for i, case in enumerate(cases):
            right = case[0].devices[case[1]]
            if check(*case, answers[right][i]):
                names = rng.sample([right, *rng.sample([d for d in DEVICES if d != right], count - 1)], count)
                rows.append((case, right, [(d, DEVICES[d], answers[d][i]) for d in names]))
        wrote = _ask(server, [prompts.merge(_talk(case), listed) for case, _, listed in rows])
        ranked = _ask(server, [prompts.merge(_talk(case), listed, prompts.RANK) for case, _, listed in rows])
        scores[f"written, {count} answers"] = score(
            check(*case, text) for (case, _, _), text in zip(rows, wrote, strict=True)
        )
        scores[f"ranked first, {count} answers"] = score(
            names.split(",")[0].strip() == right for (_, right, _), names in zip(rows, ranked, strict=True)
        )
    return scores


def _ask(server: Speaker, asked: list[str]) -> list[str]:
    return server.answer([[{"role": "user", "content": a}] for a in asked])


if __name__ == "__main__":
    print(
        json.dumps(
            measure(
                n=int(sys.argv[1]) if len(sys.argv) > 1 else 320,
                say=lambda line: print(line, file=sys.stderr, flush=True),
            ),
            indent=1,
        )
    )
