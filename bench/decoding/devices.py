"""Many devices at one verifier: verified tokens per second and memory, against the number of sessions.

The devices are paced and not counted: their drafts are the target's own text with some places wrong, so that every
session has a draft whenever the verifier is free. The verifier is the real one, its rounds batch all sessions.
"""

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiflow.bench.decoding import speed
from aiflow.bench.threads import cpu_threads
from aiflow.collaboration.decoding import chain
from aiflow.collaboration.decoding.engine import Read
from aiflow.collaboration.decoding.law import Law
from aiflow.collaboration.decoding.members import FamilyEngine
from aiflow.collaboration.decoding.rules import Greedy
from aiflow.collaboration.decoding.tier import Job, Plan, Tier
from aiflow.collaboration.decoding.wire import Draft
from aiflow.collaboration.familial.family import Family, Member

COUNTS = (1, 2, 4, 8, 16, 32, 64)
LENGTH, ALPHA, TOKENS = 4, 0.8, 96


def run(folder: Path, *, counts: Sequence[int] = COUNTS, threads: Sequence[int] = ()) -> dict[str, Any]:
    """Rows by number of sessions and of CPU threads (by default one, and all), and how much 16 sessions give over one.

    Either side of the gain takes the number of threads that is best for it.
    """
    from transformers import AutoTokenizer

    family = Family.from_pretrained(folder, dtype="float32")
    prompts = speed.questions(AutoTokenizer.from_pretrained(folder), max(counts), 11)
    rows: list[dict[str, Any]] = []
    with cpu_threads(1):
        texts = [_text(family, prompt) for prompt in prompts]
    for count in sorted(set(threads or (1, os.cpu_count() or 1))):
        with cpu_threads(count):
            rows += [{"threads": count, **_serve(family, prompts[:n], texts[:n])} for n in counts]
    best = {n: max(row["tokens_per_s"] for row in rows if row["sessions"] == n) for n in counts}
    return {"rows": rows, "gain_16": best[16] / best[1] if {1, 16} <= set(best) else None}


def _text(family: Family, prompt: speed.Ids) -> list[int]:
    """What the target says, beyond its end of text too, so that all sessions last equally long."""
    full = Member(exit=family.depth)
    tier = Tier(_job(0, prompt), Greedy(law=Law()), Plan(), bottom=True, top=True)
    station = chain.Station(tier=tier, engine=FamilyEngine(family, [full]).view(full))
    while chain.step(station):
        pass
    return tier.answer


def _serve(family: Family, prompts: Sequence[speed.Ids], texts: Sequence[list[int]]) -> dict[str, Any]:
    full = Member(exit=family.depth)
    shared = FamilyEngine(family, [full], sessions=len(prompts))
    engine = shared.view(full)
    tiers = [Tier(_job(k, p), Greedy(law=Law()), Plan(), top=True) for k, p in enumerate(prompts)]
    engine.read([Read(session=k, tokens=p, rows=1) for k, p in enumerate(prompts)])  # the prompts are not counted
    rng, epochs, rounds, spent = random.Random(0), [0] * len(tiers), 0, 0.0
    while any(not t.done for t in tiers):
        for k, tier in enumerate(tiers):
            if not tier.done:
                epochs[k] += 1
                tier.receive(_draft(tier, texts[k], epochs[k], rng))
        begun = time.perf_counter()
        asked = [(tier, work) for tier in tiers if (work := tier.want()) is not None]
        found = engine.read([Read(session=t.job.session, tokens=w.tokens, rows=w.rows) for t, w in asked])
        for (tier, work), logits in zip(asked, found, strict=True):
            tier.take(work, logits)
            tier.outgoing()
        spent += time.perf_counter() - begun
        rounds += 1
    return {
        "sessions": len(tiers),
        "tokens_per_s": sum(len(t.answer) for t in tiers) / spent,
        "rounds": rounds,
        "ms_per_round": 1e3 * spent / rounds,
        "bytes_per_session": shared.bytes / len(tiers),
        "equal_text": all(t.answer == text for t, text in zip(tiers, texts, strict=True)),
    }


def _draft(tier: Tier, text: Sequence[int], epoch: int, rng: random.Random) -> bytes:
    start = tier.own - tier.start
    right = text[start : start + LENGTH]
    ids = tuple(t if rng.random() < ALPHA else (t + 1) % 512 for t in right)
    return Draft(session=tier.job.session, epoch=epoch, base=tier.own, ids=ids).encode()


def _job(session: int, prompt: speed.Ids) -> Job:
    return Job(session=session, prompt=prompt, limit=TOKENS)
