"""Table IX in form: one video model of all modalities beside a model for each condition, at equal training budget.

``python -m aiflow.bench.diffusion.video [--quick] [--json]``. Trains what is missing (resumable), samples held-out
captions and conditions, judges by networks trained on real clips. Intervals: 95 %, over seeds and clips.

Shapes: N clips, K features; a row has the scores of one or more seeds.
"""

import json as json_
import shutil
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiflow.bench.diffusion.video_scores import Row, Scores, floor, judge_floor, real_features, scores
from aiflow.bench.provenance import provenance
from aiflow.diffusion.training import tell, train
from aiflow.diffusion.video.data import MODALITIES
from aiflow.diffusion.video.metrics import Fidelity, Interval, bootstrap, fvd, kvd
from aiflow.diffusion.video.train import CONDITIONS, RIVALS

SHARED = ("autoencoder", "clip_reader", "view_reader")
FIDELITY = {"depth": "absrel", "segment": "miou", "edges": "edge_f1"}
LOWER = {"fvd", "kvd", "absrel", "mse"}
STRENGTH = 0.6
FULL, FEW = 256, 16
DRAWS = 200
NOTES = (
    "FVD, KVD: features of a small 3-D network trained on real clips (64-d); not comparable with I3D figures.",
    "Fidelity: depth AbsRel, mean IoU, edge F1 of what a frozen network reads off the rgb, against the condition.",
    "dedicated: one model per condition, four of them share omni's training budget; fifteenth: as many as there are",
    "sets of conditions share it, which is what serving all that omni serves would take; full: each has all of it.",
    "Procedural clips of 8 x 16 x 16: the form of the paper's table, not its figures.",
)


def rows() -> list[Row]:
    """Omni and the models of one condition that share its budget."""
    found = []
    for name in ("text", *CONDITIONS):
        given = () if name == "text" else (name,)
        found.append(Row(key=f"omni {name}", stage="omni", given=given))
        for kind in ("dedicated", "fifteenth"):
            found.append(Row(key=f"{kind} {name}", stage=f"{kind}_{name}", given=given))
    return found


def extra_rows() -> list[Row]:
    """Those of the first seed: rgb alone is made, V2V, and dedicated models that have the whole budget each.

    The last are shown if they were trained: ``aiflow train video --only full_depth``.
    """
    found = [Row(key="omni text, rgb alone", stage="omni", idle=CONDITIONS), Row(key="full text", stage="full_text")]
    for name in CONDITIONS:
        others = tuple(m for m in CONDITIONS if m != name)
        found.append(Row(key=f"omni {name}, rgb alone", stage="omni", given=(name,), idle=others))
        found.append(Row(key=f"V2V {name}", stage="dedicated_text", given=(name,), strength=STRENGTH))
        found.append(Row(key=f"full {name}", stage=f"full_{name}", given=(name,)))
    return found


def subset_rows() -> list[Row]:
    """Every non-empty set of conditions but the full one, which leaves nothing to generate."""
    sets = [s for n in range(1, len(MODALITIES)) for s in combinations(MODALITIES, n)]
    return [Row(key=f"given {'+'.join(s)}", stage="omni", given=s) for s in sets]


def main(
    seeds: int | Sequence[int] = 3,
    out: Path = Path("runs/diffusion"),
    quick: bool = False,
    plots: Path | None = None,
    json: bool = False,
    nodes: Callable[[str], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Trains, scores and prints the tables; with ``json`` one object as the last line of stdout.

    Args:
        seeds: how many, or which; the first one also has the rows of one seed.
        out: ``out/video/seed-<n>/<stage>`` keeps models and scores.
        quick: one seed, a hundredth of the steps, few clips: a look at the form.
        plots: a folder for a picture of what the model makes.
        json: see above.
        nodes: measures latency and bytes of the nodes; called with "video".
    """
    chosen = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    chosen, clips = (chosen[:1], FEW) if quick else (chosen, FULL)
    root = out / ("video-quick" if quick else "video")
    for seed in chosen:
        _train(root, seed, chosen[0], 0.01 if quick else 1.0)
    first = root / f"seed-{chosen[0]}"
    real = real_features(first, clips)
    found = _found(root, chosen, rows(), clips) | _found(root, chosen[:1], extra_rows(), clips)
    found |= {f"floor: {name}": [floor(first, name, clips)] for name in ("real", "autoencoder")}
    found |= {"floor: judges": [judge_floor(first, clips)]}
    results = tabulate(found, real)
    results["subsets"] = {
        key: _metrics(scored, real) for key, scored in _found(root, chosen[:1], subset_rows(), clips).items()
    }
    results |= {
        "seeds": chosen,
        "clips": clips,
        "quick": quick,
        "budget": _budgets(root, chosen),
        "nodes": nodes("video") if nodes else None,
        "notes": list(NOTES),
        "produced": provenance(),
    }
    show(results)
    if plots is not None:
        _picture(first, plots)
    if json:
        print(json_.dumps(results))
    return results


def _found(root: Path, seeds: Sequence[int], wanted: Sequence[Row], clips: int) -> dict[str, list[Scores]]:
    """Scores by row, of the seeds that have its model."""
    found: dict[str, list[Scores]] = {}
    for row in wanted:
        folders = [root / f"seed-{s}" for s in seeds if (root / f"seed-{s}" / row.stage / "training.json").is_file()]
        if folders:
            found[row.key] = [scores(folder, row, clips) for folder in folders]
    return found


def _train(root: Path, seed: int, first: int, scale: float) -> None:
    """Autoencoder and judges are trained once and are the same for every seed."""
    folder = root / f"seed-{seed}"
    if seed != first:
        for stage in SHARED:
            if not (folder / stage).exists():
                shutil.copytree(root / f"seed-{first}" / stage, folder / stage)
                said = json_.loads((folder / stage / "training.json").read_text())
                (folder / stage / "training.json").write_text(json_.dumps(said | {"seed": seed, "trained": first}))
    stages = list(dict.fromkeys([*SHARED, *(row.stage for row in rows())]))
    train("video", folder, seed=seed, only=stages, scale=scale, progress=tell)


def tabulate(found: dict[str, list[Scores]], real: NDArray[np.float64]) -> dict[str, Any]:
    """Metrics with intervals of every row, and omni minus its rivals."""
    metrics = {key: _metrics(scored, real) for key, scored in found.items()}
    against = {}
    for name in (n for n in ("text", *CONDITIONS) if f"omni {n}" in found):
        for rival in (*RIVALS, "V2V"):
            if f"{rival} {name}" in found:
                against[f"omni {name} - {rival} {name}"] = _gaps(found[f"omni {name}"], found[f"{rival} {name}"], real)
        if name != "text":
            against[f"omni {name} - omni text"] = _gaps(found[f"omni {name}"], found["omni text"], real)
    return {
        "beats_baseline": _beats(metrics, "dedicated"),
        "beats_fifteenth": _beats(metrics, "fifteenth"),
        "better_fvd": {n: metrics[f"omni {n}"]["fvd"][0] <= metrics[f"dedicated {n}"]["fvd"][0] for n in CONDITIONS},
        "improves_on_text": all(_not_worse(metrics, f"omni {n}", "omni text", n) for n in CONDITIONS),
        "metrics": metrics,
        "differences": against,
    }


def _beats(metrics: dict[str, Any], rival: str) -> bool | None:
    """At least as good as the rival's models at every condition; None if they are not there."""
    there = all(f"{rival} {name}" in metrics for name in CONDITIONS)
    return all(_not_worse(metrics, f"omni {n}", f"{rival} {n}", n) for n in CONDITIONS) if there else None


def _not_worse(metrics: dict[str, Any], ours: str, theirs: str, condition: str) -> bool:
    """At least as good on FVD and on fidelity to the condition, by the means."""
    fidelity = FIDELITY[condition]
    sign = 1 if fidelity in LOWER else -1
    return bool(
        metrics[ours]["fvd"][0] <= metrics[theirs]["fvd"][0]
        and sign * metrics[ours][fidelity][0] <= sign * metrics[theirs][fidelity][0]
    )


def _statistics(scored: Sequence[Scores], real: NDArray[np.float64]) -> dict[str, Callable[[int, Any], float]]:
    """Each metric as a function of a seed and some clips."""

    def seen(s: int) -> Fidelity:
        one = scored[s]
        return Fidelity(absrel_N=one["absrel"], overlap_NC2=one["overlap"], edges_N3=one["edges"])

    found: dict[str, Callable[[int, Any], float]] = {}
    if "features" in scored[0]:
        found["fvd"] = lambda s, rows: fvd(real[rows], scored[s]["features"][rows])
        found["kvd"] = lambda s, rows: kvd(real[rows], scored[s]["features"][rows])
        found["caption"] = lambda s, rows: float(scored[s]["hits"][rows].mean())
        found["mse"] = lambda s, rows: float(scored[s]["mse"][rows].mean())
    for name in FIDELITY.values():
        found[name] = lambda s, rows, name=name: seen(s).value(rows)[name]  # type: ignore[misc]
    return found


def _metrics(scored: Sequence[Scores], real: NDArray[np.float64]) -> dict[str, list[float]]:
    sizes = [len(one["absrel"]) for one in scored]
    return {name: _listed(bootstrap(f, sizes, DRAWS)) for name, f in _statistics(scored, real).items()}


def _gaps(ours: Sequence[Scores], theirs: Sequence[Scores], real: NDArray[np.float64]) -> dict[str, list[float]]:
    """Ours minus theirs on the same clips, over the seeds that both have."""
    both = min(len(ours), len(theirs))
    a, b = _statistics(ours, real), _statistics(theirs, real)
    sizes = [len(one["absrel"]) for one in ours[:both]]
    return {
        name: _listed(bootstrap(lambda s, rows, n=name: a[n](s, rows) - b[n](s, rows), sizes, DRAWS))  # type: ignore[misc]
        for name in a
    }


def _listed(interval: Interval) -> list[float]:
    return [round(interval.value, 4), round(interval.lo, 4), round(interval.hi, 4)]


def _budgets(root: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Parameters, steps and CPU-seconds of each stage, the seconds summed over the seeds that have it."""
    found: dict[str, Any] = {}
    for seed in seeds:
        for file in sorted((root / f"seed-{seed}").glob("*/training.json")):
            said = json_.loads(file.read_text())
            if "trained" not in said:
                entry = found.setdefault(
                    said["stage"], {k: said[k] for k in ("parameters", "steps")} | {"cpu_seconds": []}
                )
                entry["cpu_seconds"].append(said["cpu_seconds"])
    return found


def show(results: dict[str, Any]) -> None:
    """Prints the tables."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(_table("Networked video diffusion: mean [95 % interval]", results["metrics"]))
    console.print(_table("Any modalities given, the rest generated (one seed)", results["subsets"]))
    for name, gaps in results["differences"].items():
        said = ", ".join(f"{k} {v[0]:+.3f} [{v[1]:+.3f}, {v[2]:+.3f}]" for k, v in gaps.items() if k != "mse")
        console.print(f"  {name}: {said}", highlight=False, soft_wrap=True)
    for note in results["notes"]:
        console.print(f"[dim]· {note}[/dim]", highlight=False, soft_wrap=True)


def _table(title: str, metrics: dict[str, Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    grid = Table(title=title, title_justify="left", box=SIMPLE_HEAD, header_style="bold")
    names = ("fvd", "kvd", "caption", "absrel", "miou", "edge_f1", "mse")
    grid.add_column("model, condition", no_wrap=True)
    for name in names:
        grid.add_column(name, justify="right", no_wrap=True)
    for key, values in metrics.items():
        cells = [_cell(values.get(name)) for name in names]
        grid.add_row(key, *cells, style="bold green" if key.startswith("omni") else None)
    return grid


def _cell(value: list[float] | None) -> str:
    return "" if value is None else f"{value[0]:.3f} ±{value[2] - value[0]:.3f}"


def _picture(folder: Path, plots: Path) -> None:
    """Four held-out captions, each with another modality given."""
    from aiflow.diffusion.video import picture
    from aiflow.diffusion.video.data import generate
    from aiflow.diffusion.video.train import pipeline

    pipe, clips = pipeline(folder, "omni"), generate("test", 4)
    shown, roles = [], []
    for n, given in enumerate([(), ("depth",), ("edges",), ("rgb",)]):
        out = pipe(
            clips.captions[n], conditions={g: clips.views[g][n : n + 1] for g in given}, output_type="np", seed=n
        )
        shown.append({name: video[0] for name, video in out.videos.items()})
        roles.append(out.roles_used)
    picture.gif(plots / "video.gif", picture.sheet(shown, clips.captions[:4], roles))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv, json="--json" in sys.argv)
