"""The protocol: the text is the top tier's whatever the plans are and whatever happens to the frames."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from aiflow.collaboration.decoding.engine import Read
from aiflow.collaboration.decoding.law import Law
from aiflow.collaboration.decoding.rules import rule
from aiflow.collaboration.decoding.tier import Job, Plan, Tier
from aiflow.errors import ProtocolError

V = 12


class Hashed:
    """Says a token that depends on all before it; with probability ``wrong`` per place another than the others."""

    def __init__(self, wrong: float = 0.0, seed: int = 0) -> None:
        self.wrong, self.seed = wrong, seed

    def token(self, tokens: Sequence[int]) -> int:
        right = hash((17, *tokens)) % V
        own = random.Random(hash((self.seed, *tokens)))
        return (right + 1 + own.randrange(V - 1)) % V if own.random() < self.wrong else right

    def read(self, asked: Sequence[Read]) -> list[torch.Tensor]:
        found = []
        for one in asked:
            logits = torch.zeros(one.rows, V)
            for row in range(one.rows):
                logits[row, self.token(one.tokens[: len(one.tokens) - one.rows + row + 1])] = 5.0
            found.append(logits)
        return found

    def close(self, session: int) -> None:
        """Nothing is kept."""


def alone(job: Job, engine: Any) -> list[int]:
    tokens = list(job.prompt)
    while len(tokens) < len(job.prompt) + job.limit:
        tokens.append(engine.token(tokens))
        if tokens[-1] in job.ends:
            break
    return tokens[len(job.prompt) :]


def tiers(job: Job, plans: Sequence[Plan]) -> list[Tier]:
    top = len(plans) - 1
    return [
        Tier(job, rule("greedy", Law(), seed=0, tier=k, top=k == top), plan, bottom=k == 0, top=k == top)
        for k, plan in enumerate(plans)
    ]


class Storm:
    """Links on which a frame may be lost, doubled, damaged, or overtaken; tiers that may be slow."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        count = rng.choice([2, 2, 3])
        ends = frozenset([0]) if rng.random() < 0.3 else frozenset[int]()
        prompt = tuple(rng.randrange(V) for _ in range(rng.randint(1, 4)))
        self.job = Job(session=seed % 7, prompt=prompt, limit=rng.randint(1, 24), ends=ends, vocabulary=V)
        wrong = [rng.choice([0.0, 0.2, 0.6, 1.0]) for _ in range(count - 1)]
        self.engines = [*(Hashed(w, seed + k) for k, w in enumerate(wrong)), Hashed()]
        self.tiers = tiers(self.job, [self.plan() for _ in range(count)])
        self.ways: list[list[tuple[int, bytes]]] = [[] for _ in range(2 * (count - 1))]  # up and down of each link
        self.hurt = rng.choice([0.0, 0.1, 0.3])

    def plan(self) -> Plan:
        block = self.rng.randint(1, 6)
        return Plan(block=block, ahead=block * self.rng.randint(1, 3), eager=self.rng.random() < 0.3)

    def send(self, k: int) -> None:
        up, down = self.tiers[k].outgoing()
        for frame in up:
            self.ways[2 * k].append((k + 1, frame))
        for frame in down:
            self.ways[2 * k - 1].append((k - 1, frame))

    def carry(self) -> None:
        way = self.rng.choice(self.ways)
        if not way:
            return
        at = self.rng.randrange(len(way)) if self.rng.random() < self.hurt else 0
        to, frame = way[at] if self.rng.random() < self.hurt else way.pop(at)  # doubled
        if self.rng.random() < self.hurt:
            return  # lost
        if self.rng.random() < self.hurt:
            frame = self.damaged(frame)
            before = vars(self.tiers[to]).copy()
            with pytest.raises(ProtocolError):
                self.tiers[to].receive(frame)
            assert vars(self.tiers[to]) == before
            return
        self.tiers[to].receive(frame)
        self.send(to)

    def damaged(self, frame: bytes) -> bytes:
        kind = self.rng.randrange(3)
        if kind == 0:
            return frame[: self.rng.randrange(len(frame))]
        if kind == 1:
            return frame + bytes([self.rng.randrange(256)])
        at = self.rng.randrange(len(frame))
        return frame[:at] + bytes([frame[at] ^ (1 + self.rng.randrange(255))]) + frame[at + 1 :]

    def work(self, k: int) -> None:
        tier = self.tiers[k]
        if self.rng.random() < 0.02:
            tier.plan = self.plan()
        if self.rng.random() < 0.05:  # neighbours are thought to be gone, rightly or not, and come back
            tier.silent_above, tier.silent_below = self.rng.random() < 0.3, self.rng.random() < 0.3
        if (work := tier.want()) is None:
            return
        (logits,) = self.engines[k].read([Read(session=0, tokens=work.tokens, rows=work.rows)])
        if self.rng.random() < self.hurt:
            self.carry()  # something arrives while the model computes
        tier.take(work, logits)
        self.send(k)

    def run(self) -> None:
        final: list[list[int]] = [[] for _ in self.tiers]
        for turn in range(20_000):
            if self.tiers[0].done:
                break
            if self.rng.random() < 0.5:
                self.work(self.rng.randrange(len(self.tiers)))
            else:
                self.carry()
            if turn % 40 == 39:
                k = self.rng.randrange(len(self.tiers) - 1)
                self.ways[2 * k].append((k + 1, self.tiers[k].poll()))
            for tier, so_far in zip(self.tiers, final, strict=True):
                assert tier.answer[: len(so_far)] == so_far, "a final token changed"
                so_far[:] = tier.answer
        assert self.tiers[0].answer == alone(self.job, self.engines[-1])


@pytest.mark.parametrize("part", range(10))
def test_fuzzed_frames_leave_the_text_of_the_target(part: int) -> None:
    for seed in range(1000 * part, 1000 * (part + 1)):
        try:
            Storm(seed).run()
        except BaseException:
            print(f"seed {seed}")
            raise


def test_a_tier_that_hears_nothing_from_above_drafts_on_and_tells_all_when_asked() -> None:
    job, model = Job(session=1, prompt=(1,), limit=40, vocabulary=V), Hashed()
    (tier, judge) = tiers(job, [Plan(block=2, ahead=4), Plan()])
    tier.silent_above = True
    while (work := tier.want()) is not None:
        tier.take(work, model.read([Read(session=1, tokens=work.tokens, rows=work.rows)])[0])
    assert tier.own - tier.above == 40
    assert tier.outgoing() == ([], [])
    judge.receive(tier.poll())
    work = judge.want()
    assert work is not None
    judge.take(work, model.read([Read(session=1, tokens=work.tokens, rows=work.rows)])[0])
    assert judge.answer == tier.tokens[1:]


def test_a_judge_that_hears_nothing_from_below_decodes_by_itself() -> None:
    job, model = Job(session=1, prompt=(1,), limit=8, vocabulary=V), Hashed()
    (judge,) = tiers(job, [Plan(), Plan()])[1:]
    assert judge.want() is None
    judge.silent_below = True
    while (work := judge.want()) is not None:
        judge.take(work, model.read([Read(session=1, tokens=work.tokens, rows=work.rows)])[0])
    assert judge.answer == alone(job, model)
