"""``aiflow bench chaos``: a batch of requests while actors, nodes, links, the head and the driver are killed.

Five nodes as network namespaces with real links and Ray across them (Linux, root). The same requests are answered
twice by real models: undisturbed, and under seeded faults; every text must be the same.
"""

import json as jsonlib
import os
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TOPOLOGY = """
nodes:
  hub: edge
  cloud: cloud
  phone: device
  laptop: device
  tablet: device
links:
  - {between: [device, hub], rate: 10 MB/s, rtt: 6 ms}
  - {between: [device, cloud], rate: 10 MB/s, rtt: 20 ms}
  - {between: [hub, cloud], rate: 20 MB/s, rtt: 16 ms}
"""
HUB = "hub"
FAULTS = {"actor": 6, "node": 4, "link": 4, "head": 3, "driver": 2, "cluster": 1}
"""How often each thing is broken in a full run."""
WORDS = 9


def main(
    *,
    requests: int = 500,
    faults: Sequence[str] = (),
    parallel: int = 8,
    seed: int = 0,
    out: Path | None = None,
    json: bool = False,
) -> dict[str, Any]:
    """Prints what was lost, doubled, mixed up or wrong, and how long each fault was felt. ``faults``: KIND=COUNT.

    Raises UsageError, and ClusterError where namespaces cannot be made or a batch fails as a whole.
    """
    from aiflow.bench.chaos import verdict
    from aiflow.bench.chaos.faults import plan
    from aiflow.bench.provenance import provenance

    each = _counts(faults)
    rng = random.Random(seed)
    questions = _questions(requests, rng)
    with tempfile.TemporaryDirectory(prefix="aiflow-chaos-") as name:
        folder = (out or Path(name)).resolve()
        calm, rough = _runs(questions, folder, parallel, plan(requests, each, rng), rng)
    usual = verdict.rate(calm)
    rows = verdict.recoveries(rough, usual)
    result = {
        **verdict.compare(list(questions), calm, rough),
        "seed": seed,
        "parallel": parallel,
        "calm": {"answers_per_s": round(usual, 2), "seconds": round(calm.ended - calm.began, 1), **_told(calm)},
        "rough": {
            "answers_per_s": round(verdict.rate(rough), 2),
            "seconds": round(rough.ended - rough.began, 1),
            **_told(rough),
        },
        "recovery": verdict.by_kind(rows),
        "faults": rows,
        **provenance(),
    }
    _show(result, sys.stderr if json else sys.stdout)
    if json:
        print(jsonlib.dumps(result))
    return result


def _runs(questions: dict[str, str], folder: Path, parallel: int, when: Any, rng: random.Random) -> tuple[Any, Any]:
    from aiflow.bench.chaos import play
    from aiflow.bench.chaos.faults import Faults
    from aiflow.cluster.shaped import ShapedCluster
    from aiflow.cluster.shaped.nodes import RayNodes

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is taken down then, too
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "questions.jsonl"
    lines = [jsonlib.dumps({"id": id, "question": text}) for id, text in questions.items()]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with ShapedCluster.up(TOPOLOGY, f"chaos{os.getpid()}") as cluster:
        nodes = RayNodes(cluster, dashboard=False)
        nodes.start()
        print(f"{len(cluster.hosts)} nodes are up; first undisturbed", file=sys.stderr, flush=True)
        calm = play.run(nodes, HUB, file, folder / "calm", parallel=parallel, faults=None, when=())
        print(f"undisturbed: {calm.ended - calm.began:.0f} s; now with faults", file=sys.stderr, flush=True)
        broken = Faults(nodes, HUB, rng)
        rough = play.run(nodes, HUB, file, folder / "rough", parallel=parallel, faults=broken, when=when)
    return calm, rough


def _questions(count: int, rng: random.Random) -> dict[str, str]:
    from aiflow.bench.chaos.graph import question
    from aiflow.nano.data.names import WORDS as KNOWN

    return {f"request-{number:04}": question(rng.sample(sorted(KNOWN), WORDS)) for number in range(count)}


def _counts(given: Sequence[str]) -> dict[str, int]:
    from aiflow.errors import UsageError, suggest

    if not given:
        return dict(FAULTS)
    counts = {}
    for text in given:
        kind, _, count = text.partition("=")
        if kind not in FAULTS or not count.isdigit():
            raise UsageError(f"--fault {text!r} is not KIND=COUNT; {suggest(kind, list(FAULTS))}")
        counts[kind] = int(count)
    return counts


def _told(run: Any) -> dict[str, Any]:
    keys = ("answered", "failed", "unfinished", "resumed", "dropped", "restarts", "ends")
    return {key: run.summary.get(key) for key in keys}


def _show(result: dict[str, Any], to: Any) -> None:
    for key in ("requests", "lost", "doubled", "mixed", "wrong_text"):
        print(f"{key:<12} {result[key]}", file=to)
    for name in ("calm", "rough"):
        run = result[name]
        print(f"{name:<12} {run['seconds']} s, {run['answers_per_s']} answers/s, {run['restarts']} restarts", file=to)
    for kind, row in result["recovery"].items():
        print(f"  {kind:<10} {row['count']} times: pause {row['pause_s']}, recovered {row['recovered_s']}", file=to)
