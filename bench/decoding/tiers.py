"""One, two and three tiers on the wall clock, in the form of the AI Flow paper's Table I.

Three members of the nano family speak for device, edge and cloud. Their rounds are paced to the ratio of the paper's
three models (the device's 44.26, the edge's 32.07 and the cloud's 27.86 tokens/s say how fast each is alone on its own
machine) or to a steeper one; the links are emulated. Every text must be the top tier's.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path as Folder
from typing import Any

from aiflow.bench.decoding import speed
from aiflow.bench.decoding.simulate import Path, Stage, session
from aiflow.bench.threads import cpu_threads
from aiflow.clock import RealClock
from aiflow.collaboration.decoding.engine import Engine
from aiflow.collaboration.decoding.members import FamilyEngine
from aiflow.collaboration.decoding.tier import Job, Plan
from aiflow.collaboration.familial.family import Family, Member

NAMES = ("device", "edge", "cloud")
SECONDS = {"steep": (0.008, 0.040, 0.120), "table I": (1 / 44.26, 1 / 32.07, 1 / 27.86)}
"""Of a round on each tier. "steep": a phone's small model, an edge box, a large model in a cloud."""
LINKS = (Path(rate=2e6, rtt=0.005), Path(rate=10e6, rtt=0.020))
DEADLINE = 900.0
CHAINS = {
    "device alone": (0,),
    "edge alone": (1,),
    "cloud alone": (2,),
    "device + edge": (0, 1),
    "device + edge + cloud": (0, 1, 2),
}


def run(folder: Folder, members: Sequence[Member], *, prompts: int = 12, pace: str = "steep") -> dict[str, Any]:
    """Tokens/s of every chain over the same prompts, and whether its text is its top tier's."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    family = Family.from_pretrained(folder, dtype="float32")
    asked = speed.questions(tokenizer, prompts, 13)
    with cpu_threads(1):
        texts, rows = asyncio.run(asyncio.wait_for(_all(family, members, asked, pace), DEADLINE))
    for name, row in rows.items():
        row["equal_text"] = texts[name] == texts[f"{NAMES[CHAINS[name][-1]]} alone"]
    three = rows["device + edge + cloud"]
    return {
        "pace": pace,
        "prompts": prompts,
        "members": dict(zip(NAMES, map(str, members), strict=True)),
        "rows": rows,
        "three_tier_vs_cloud": three["tokens_per_s"] / rows["cloud alone"]["tokens_per_s"],
        "two_tier_vs_edge": rows["device + edge"]["tokens_per_s"] / rows["edge alone"]["tokens_per_s"],
        "equal_text": all(row["equal_text"] for row in rows.values()),
    }


async def _all(
    family: Family, members: Sequence[Member], prompts: Sequence[speed.Ids], pace: str
) -> tuple[dict[str, list[list[int]]], dict[str, dict[str, Any]]]:
    engines: list[Engine] = [FamilyEngine(family, [m]).view(m) for m in members]
    texts: dict[str, list[list[int]]] = {name: [] for name in CHAINS}
    spent: dict[str, float] = dict.fromkeys(CHAINS, 0.0)
    sent: dict[str, int] = dict.fromkeys(CHAINS, 0)
    for number, prompt in enumerate(prompts):
        for name, chain in CHAINS.items():  # in turn, so that the machine's moods meet all
            job = Job(session=number, prompt=prompt, limit=speed.LIMIT, ends=frozenset([speed.END]))
            stages = [_stage(SECONDS[pace][k], k, chain) for k in chain]
            found = await session(RealClock(), job, [engines[k] for k in chain], stages, _links(chain))
            texts[name].append(found.tokens)
            spent[name] += found.total
            sent[name] += sum(found.up) + sum(found.down)
            for engine in engines:
                engine.close(number)
    rows = {}
    for name in CHAINS:
        tokens = sum(map(len, texts[name]))
        rows[name] = {"tokens": tokens, "tokens_per_s": tokens / spent[name], "bytes_per_token": sent[name] / tokens}
    return texts, rows


def _stage(seconds: float, tier: int, chain: Sequence[int]) -> Stage:
    above = tier != chain[-1]
    ahead = {0: 12, 1: 8}.get(tier, 0)
    return Stage(seconds=seconds, plan=Plan(block=1, ahead=ahead if above else 1, above=above, eager=not above))


def _links(chain: Sequence[int]) -> list[Path]:
    return [LINKS[below] for below in chain[:-1]]
