"""Split inference over links of several rates, beside the device alone and the server alone, with measured passes.

Simulated links, real texts: the seconds of passes are a processor's, measured here; those of links follow from bytes.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path as Folder
from typing import Any

import torch

from aiflow.bench.split import talks
from aiflow.bench.split.simulate import Pace, Path, cost, play
from aiflow.bench.split.talks import Prompt
from aiflow.bench.threads import cpu_threads
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.front import Manner, greedy
from aiflow.collaboration.familial.session import Session
from aiflow.collaboration.familial.split import break_even, choose
from aiflow.nano import tokenizer as tok

RATES = (0.25e6, 0.5e6, 1e6, 2e6, 4e6, 8e6)
RTT = 0.02
TALKS = 3
MEMBER = Member(exit=2)
MANNERS = {
    "split, float32": Manner(),
    "split, bfloat16": Manner(dtype="bfloat16", lossy=True),
    "split, int8": Manner(dtype="int8", lossy=True),
    "split, ids": Manner(transport="ids"),
}
ANSWER = 60
"""Bytes of the messages around a text: asks and answers of agents."""
_WIDE, _REPEATS = 64, 15


def run(folder: Folder, *, conversations: int = TALKS) -> dict[str, Any]:
    """By kind of prompt, rate and system: milliseconds to the first and the last token, bytes, and where time went."""
    from transformers import AutoTokenizer

    from aiflow.agents.backends.transformers.members import quietly

    family = Family.from_pretrained(folder, dtype="float32")
    with quietly(str(folder)):
        tokenizer = AutoTokenizer.from_pretrained(folder)
    with cpu_threads(1):
        prompts = [p for n in range(conversations) for p in talks.conversation(family, tokenizer, 100 + n)]
        kinds = {
            "picture": [p for p in prompts if p.pixel_values is not None],
            "text": [p for p in prompts if p.pixel_values is None],
        }
        pace = measured(family, MEMBER, prompts)
        rows = [_row(family, k, ps, rate, name, pace) for k, ps in kinds.items() for rate in RATES for name in MANNERS]
        rows += [_row_alone(family, k, ps, rate, pace) for k, ps in kinds.items() for rate in RATES]
        rows += [_row_server(k, ps, rate, pace) for k, ps in kinds.items() for rate in RATES]
    own = {k: _choices(family, ps, pace) for k, ps in kinds.items()}
    return {"member": str(MEMBER), "rtt_ms": 1e3 * RTT, "pace": _shown(pace), "rows": rows, "choices": own}


@torch.inference_mode()
def measured(family: Family, member: Member, prompts: Sequence[Prompt]) -> Pace:
    """Seconds of passes on one thread of this machine (of its processor, so that its other work does not count)."""
    part, full = family.part(member), Member(exit=family.depth)
    width = family.parts.config.hidden_size
    picture = next((p for p in prompts if p.pixel_values is not None), None)

    def device(h_1TD: Any) -> Callable[[], object]:
        session = Session(part, [Member(exit=member.exit)])
        session.push(embeds=h_1TD)
        return lambda: session.advance(Member(exit=member.exit), last=1)

    def above(h_1TD: Any) -> Callable[[], object]:
        session = Session(family, [full])
        session.resume(h_1TD, member.exit)
        return lambda: session.advance(full)

    def whole(h_1TD: Any) -> Callable[[], object]:
        session = Session(family, [full])
        session.push(embeds=h_1TD)
        return lambda: session.advance(full)

    def line(make: Callable[[Any], Callable[[], object]]) -> tuple[float, float]:
        one, wide = (_least(lambda n=n: make(torch.randn(1, n, width))) for n in (1, _WIDE))  # type: ignore[misc]
        slope = max(0.0, (wide - one) / (_WIDE - 1))
        return max(0.0, one - slope), slope

    look = 0.0
    if picture is not None:
        ids = torch.tensor([list(picture.ids)])
        look = _least(lambda: lambda: family.embed(ids, picture.pixel_values))
    return Pace(device=line(device), above=line(above), whole=line(whole), vision=look)


def _least(make: Callable[[], Callable[[], object]]) -> float:
    found = []
    for _ in range(_REPEATS):
        work = make()
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return min(found)


def _row(family: Family, kind: str, prompts: Sequence[Prompt], rate: float, name: str, pace: Pace) -> dict[str, Any]:
    path = Path(rate=rate, rtt=RTT)
    found = [play(family, MEMBER, p, manner=MANNERS[name], path=path, pace=pace, settle=False) for p in prompts]
    return {
        "kind": kind,
        "rate": rate,
        "system": name,
        "first_ms": 1e3 * _mean([f.first for f in found]),
        "final_ms": 1e3 * _mean([f.seconds for f in found]),
        "bytes": _mean([f.up + f.down for f in found]),
        "device_ms": 1e3 * _mean([f.device_seconds for f in found]),
        "link_ms": 1e3 * _mean([f.link_seconds for f in found]),
        "server_ms": 1e3 * _mean([f.server_seconds for f in found]),
        "equal": _mean([tuple(f.tokens) == p.wanted for f, p in zip(found, prompts, strict=True)]),
    }


def _row_alone(family: Family, kind: str, prompts: Sequence[Prompt], rate: float, pace: Pace) -> dict[str, Any]:
    """The device's own answer: nothing crosses a link."""
    texts = [_own(family, p) for p in prompts]
    first = [cost(pace.device, len(p.ids)) + pace.vision * (p.png > 0) for p in prompts]
    final = [f + (len(t) - 1) * cost(pace.device, 1) for f, t in zip(first, texts, strict=True)]
    return {
        "kind": kind,
        "rate": rate,
        "system": "device alone",
        "first_ms": 1e3 * _mean(first),
        "final_ms": 1e3 * _mean(final),
        "bytes": 0.0,
        "device_ms": 1e3 * _mean(final),
        "link_ms": 0.0,
        "server_ms": 0.0,
        "equal": _mean([t == p.wanted for t, p in zip(texts, prompts, strict=True)]),
    }


def _row_server(kind: str, prompts: Sequence[Prompt], rate: float, pace: Pace) -> dict[str, Any]:
    """The server's answer to the question and the picture's file; its tokens come back one by one."""
    up = [ANSWER + 4 * sum(i not in talks.BANNED for i in p.ids) + p.png for p in prompts]
    down = [ANSWER + 4 * len(p.wanted) for p in prompts]
    link = [b / rate + RTT / 2 for b in up]
    work = [cost(pace.whole, len(p.ids)) + pace.vision * (p.png > 0) for p in prompts]
    rest = [(len(p.wanted) - 1) * cost(pace.whole, 1) for p in prompts]
    first = [a + b + RTT / 2 for a, b in zip(link, work, strict=True)]
    return {
        "kind": kind,
        "rate": rate,
        "system": "server alone",
        "first_ms": 1e3 * _mean(first),
        "final_ms": 1e3 * _mean([f + r + d / rate for f, r, d in zip(first, rest, down, strict=True)]),
        "bytes": _mean([u + d for u, d in zip(up, down, strict=True)]),
        "device_ms": 0.0,
        "link_ms": 1e3 * _mean([a + RTT / 2 + d / rate for a, d in zip(link, down, strict=True)]),
        "server_ms": 1e3 * _mean([w + r for w, r in zip(work, rest, strict=True)]),
        "equal": 1.0,
    }


@torch.inference_mode()
def _own(family: Family, prompt: Prompt) -> tuple[int, ...]:
    session = Session(family, [MEMBER])
    session.push(embeds=family.embed(torch.tensor([list(prompt.ids)]), prompt.pixel_values))
    said: list[int] = []
    while len(said) < talks.LIMIT and said[-1:] != [tok.EOS]:
        said += greedy(session.advance(MEMBER, last=1)[0], talks.BANNED)
        session.push(torch.tensor([said[-1:]]))
    return tuple(said)


def _choices(family: Family, prompts: Sequence[Prompt], pace: Pace) -> dict[str, Any]:
    """Break-even rates for the prompts' mean length, and what would be chosen at each rate."""
    width = family.parts.config.hidden_size
    n = round(_mean([len(p.ids) for p in prompts]))
    places = round(_mean([sum(i not in talks.BANNED for i in p.ids) for p in prompts]))
    below = max(0.0, cost(pace.whole, n) - cost(pace.above, n))
    rates = {d: break_even(places, width, d, below) for d in ("float32", "bfloat16", "int8")}
    chosen = {f"{rate:g}": choose(places, width, "float32", rate, below) for rate in RATES}
    return {"tokens": n, "below_ms": 1e3 * below, "break_even": rates, "chosen": chosen}


def _shown(pace: Pace) -> dict[str, Any]:
    return {
        "device_ms": [1e3 * x for x in pace.device],
        "above_ms": [1e3 * x for x in pace.above],
        "whole_ms": [1e3 * x for x in pace.whole],
        "vision_ms": 1e3 * pace.vision,
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
