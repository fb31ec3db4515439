"""Seeded link outages during conversations of the nano family: what they change of the text and of the server's state.

Each seed draws a conversation, a device (exit, with a branch or without), what travels, how much the device may keep,
when the link is down and for how long, and whether the server is started anew meanwhile.
"""

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path as Folder
from typing import Any

from aiflow.bench.split import talks
from aiflow.bench.split.simulate import Found, Pace, Path, play
from aiflow.bench.split.talks import Prompt
from aiflow.bench.threads import cpu_threads
from aiflow.collaboration.familial.back import Back
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.front import POLICIES, TRANSPORTS, Manner, Policy
from aiflow.nano import tokenizer as tok

MEMBERS = ("1", "2", "4", "6", "2:0", "0:0")
"""The last two say nothing themselves: exit 2 without its branch, and embeddings only."""
TALKS = 10
RATES, TRIPS = (0.5e6, 1e6, 4e6), (0.02, 0.08)
BUDGETS = (64 << 20, 40 * 1024, 0)
"""Bytes of hidden states that the device keeps: all, forty tokens, none."""
RESTARTED = 0.25
TOLERANCE = 1e-4
"""Of keys and values in float32: how tokens are grouped into passes changes their last bits."""


def run(folder: Folder, *, seeds: int = 100) -> dict[str, Any]:
    """By policy: texts, tokens and server states after outages, beside undisturbed runs of the same conversations."""
    from transformers import AutoTokenizer

    from aiflow.agents.backends.transformers.members import quietly

    family = Family.from_pretrained(folder, dtype="float32")
    with quietly(str(folder)):
        tokenizer = AutoTokenizer.from_pretrained(folder)
    with cpu_threads(1):
        lab = _Lab(family, tokenizer)
        return {"seeds": seeds, "policies": [_policy(lab, policy, seeds) for policy in POLICIES]}


class _Lab:
    """Conversations and their undisturbed runs, each once."""

    def __init__(self, family: Family, tokenizer: Any) -> None:
        self.family = family
        self.talk = cache(lambda number: talks.conversation(family, tokenizer, number))
        self.steady = cache(self._steady)

    def _steady(self, talk: int, turn: int, member: Member, rate: float, rtt: float) -> Found:
        return play(self.family, member, self.talk(talk)[turn], path=Path(rate=rate, rtt=rtt))


def _policy(lab: _Lab, policy: Policy, seeds: int) -> dict[str, Any]:
    rows = [row for seed in range(seeds) for row in _seed(lab, policy, seed)]
    hit = [row for row in rows if row["hit"]]
    drafting = [row for row in rows if row["drafts"]]
    return {
        "policy": policy,
        "sessions": len(rows),
        "disturbed": len(hit),
        "restarted": sum(row["restarted"] for row in rows),
        "equal_text": _share(row["equal"] for row in rows),
        "lost_tokens": sum(row["lost_tokens"] for row in rows),
        "server_has_all": _share(row["complete"] for row in rows),
        "equal_state": _share(row["difference"] < TOLERANCE for row in rows if row["equal"]),
        "worst_difference": max((row["difference"] for row in rows if row["equal"]), default=0.0),
        "taken_back": sum(row["taken_back"] for row in rows),
        "first_ms": 1e3 * _mean(row["first"] for row in drafting),
        "first_in_round_trips": max((row["first"] / row["rtt"] for row in drafting), default=0.0),
        "first_waits_ms": 1e3 * max((row["first"] - row["prompt_seconds"] for row in drafting), default=0.0),
        "first_without_branch_ms": 1e3 * _mean(row["first"] for row in rows if not row["drafts"]),
        "seconds": _mean(row["seconds"] for row in rows),
        "steady_seconds": _mean(row["steady_seconds"] for row in rows),
    }


def _seed(lab: _Lab, policy: Policy, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(f"outages {seed}")
    talk, member = rng.randrange(TALKS), Member.parse(MEMBERS[seed % len(MEMBERS)])
    rate, rtt = rng.choice(RATES), rng.choice(TRIPS)
    manner = Manner(
        transport=rng.choice(TRANSPORTS), policy=policy, ahead=rng.choice((4, 16)), budget=rng.choice(BUDGETS)
    )
    rows = []
    for turn, prompt in enumerate(lab.talk(talk)):
        steady = lab.steady(talk, turn, member, rate, rtt)
        path = _path(rng, steady.seconds, rate, rtt)
        found = play(
            lab.family, member, prompt, manner=manner, path=path, choose=lambda: rng.choice(TRANSPORTS)
        )  # what travels is chosen anew when the link is back: here by chance
        rows.append(_row(found, steady, prompt, member, path, policy))
    return rows


def _path(rng: random.Random, seconds: float, rate: float, rtt: float) -> Path:
    """One to three times at which the link goes down, within the undisturbed run's duration."""
    down = []
    for _ in range(rng.randint(1, 3)):
        begin = rng.uniform(0, seconds)
        down.append((begin, begin + min(5.0, 0.05 + rng.expovariate(2.0))))
    restarts = [rng.uniform(*rng.choice(down))] if rng.random() < RESTARTED else []
    return Path(rate=rate, rtt=rtt, down=down, restarts=restarts)


def _row(found: Found, steady: Found, prompt: Prompt, member: Member, path: Path, policy: Policy) -> dict[str, Any]:
    wanted, said = list(prompt.wanted), found.tokens
    back, other = _only(found), _only(steady)
    whole = [*prompt.ids, *said][:-1]
    equal = said == steady.tokens == wanted
    return {
        "hit": found.lost > 0,
        "restarted": bool(path.restarts),
        "equal": equal,
        "lost_tokens": found.changed + len(whole) - len(_common(back.ids, whole)) + _missing(said, wanted, policy),
        "complete": back.ids == whole,
        "difference": _difference(back, other, member.exit) if equal else 0.0,
        "taken_back": found.taken_back,
        "drafts": member.keep != 0,
        "first": found.first,
        "rtt": path.rtt,
        "prompt_seconds": Pace().device[0] + len(prompt.ids) * Pace().device[1],
        "seconds": found.seconds,
        "steady_seconds": steady.seconds,
    }


def _missing(said: Sequence[int], wanted: Sequence[int], policy: Policy) -> int:
    """Tokens that the text should have and has not; where the device's own stand, only whether it ends."""
    if policy == "best_effort":
        return int(said[-1] != tok.EOS and len(said) < talks.LIMIT)
    return max(len(said), len(wanted)) - len(_common(said, wanted))


def _common(a: Sequence[int], b: Sequence[int]) -> Sequence[int]:
    """The beginning that both have."""
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:same]


def _only(found: Found) -> Back:
    assert found.backs is not None
    back = found.backs.get(found.name)
    assert back is not None
    return back


def _difference(a: Back, b: Back, exit_: int) -> float:
    """The largest between the keys and values of the blocks above the exit; infinite for other shapes."""
    pairs = zip(a.session.caches(exit_), b.session.caches(exit_), strict=True)
    return max(float((x - y).abs().max()) if x.shape == y.shape else float("inf") for x, y in pairs)


def _share(values: Any) -> float:
    return _mean(map(float, values))


def _mean(values: Any) -> float:
    found: Sequence[float] = list(values)
    return sum(found) / len(found) if found else float("nan")
