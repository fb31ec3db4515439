"""Table VIII in form: near and far decoders with fusion beside single decoders of the same size, budget and data.

``python -m aiflow.bench.diffusion.depth [--quick] [--json]``. Trains what is missing (resumable), scores held-out rooms
and roads and distant roads. Intervals: 95 %, by drawing seeds and images anew.

Legend: T seeds, I images, D draws.
"""

import json as json_
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiflow.bench.diffusion import depth_scores
from aiflow.bench.provenance import provenance
from aiflow.diffusion.depth.metrics import NAMES
from aiflow.diffusion.depth.representation import ANCHORS
from aiflow.diffusion.training import tell, train

Floats = NDArray[np.float64]
COLLABORATION, RIVAL, STRONG = "pool", "linear", ("linear_tuned", "log")
EVERY_SEED = ("near_far", "linear", "linear_tuned", "log")
ONE_SEED = ("log_flag", "linear_caps", "bins", "log_wide")
TITLES = {
    "pool": ("near/far, mean over the pool", "near/far with fusion"),
    "anchor 10": ("near/far, anchor 10 m", "near/far with fusion"),
    "auto": ("near/far, automatic anchor", "near/far with fusion"),
    "told": ("near/far, anchors 10 and 80 m", "told the domain"),
    "near alone": ("near branch alone, anchor 80 m", "one branch"),
    "far alone": ("far branch alone, anchor 2 m", "one branch"),
    "linear": ("single, 80 m x sigmoid, as published", "single decoder"),
    "linear_tuned": ("single, 80 m x sigmoid, our start and loss", "single decoder"),
    "log": ("single, log depth", "single decoder"),
    "log_wide": ("single, log depth, wider", "single decoder"),
    "bins": ("single, 64 adaptive bins", "single decoder"),
    "log_flag": ("single, log depth, told the domain", "told the domain"),
    "linear_caps": ("single, 10 or 80 m x sigmoid", "told the domain"),
}
DRAWS = 4000
CLAIMED = ("abs_rel", "rmse")
SHOWN = ("delta1", "abs_rel", "rmse", "log10")
FULL, FEW = 1000, 20
NOTES = (
    "Metrics per image, then averaged; rooms below 10 m, roads below 80 m; 'both': all images of the two.",
    "Same scenes, order, optimisers, steps; parameters equal to 3 %; two decoders cost more CPU time than a wider one.",
    "As published: Depth Anything V2's head and loss. Our start and loss: the same head tuned as near and far were.",
    "Distant roads: surfaces at 80 to 200 m, for which nothing had labels in training.",
    "Procedural scenes of 64 x 48 pixels: the form of the paper's table, not its figures.",
)


def main(
    seeds: int | Sequence[int] = 3,
    out: Path = Path("runs/diffusion"),
    quick: bool = False,
    json: bool = False,
    nodes: Callable[[str], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Trains, scores and prints the table; with ``json`` one object as the last line of stdout.

    Args:
        seeds: how many, or which; the first one trains the baselines of one seed, too.
        out: ``out/depth/seed-<n>/<stage>`` keeps the models and their scores.
        quick: one seed, a fiftieth of the steps, few images; for a look at the form.
        json: see above.
        nodes: measures latency and bytes of the nodes; called with "depth".
    """
    chosen = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    chosen, images = (chosen[:1], FEW) if quick else (chosen, FULL)
    root = out / ("depth-quick" if quick else "depth")
    for seed, stages in [*((seed, EVERY_SEED) for seed in chosen), (chosen[0], ONE_SEED)]:
        train("depth", root / f"seed-{seed}", seed=seed, only=stages, scale=0.02 if quick else 1.0, progress=tell)
    scores = {row: _gather(root, chosen, row, images) for row in TITLES}
    results = tabulate(scores)
    first = root / f"seed-{chosen[0]}" / "near_far"
    results |= {
        "seeds": chosen,
        "images": images,
        "quick": quick,
        "sky": depth_scores.sky(first, min(images, 100)),
        "costs": [depth_scores.costs(first, anchors) for anchors in ((10.0,), ANCHORS)],
        "budget": {stage: _budget(root / f"seed-{chosen[0]}" / stage) for stage in (*EVERY_SEED, *ONE_SEED)},
        "nodes": nodes("depth") if nodes else None,
        "notes": list(NOTES),
        "produced": provenance(),
    }
    show(results)
    if json:
        print(json_.dumps(results))
    return results


def _gather(root: Path, seeds: Sequence[int], row: str, images: int) -> dict[str, Floats]:
    """Kind of scene -> scores ``(T, I, metrics)`` of a row, over the seeds that have it."""
    stage = row if row in (*EVERY_SEED, *ONE_SEED) else "near_far"
    folders = [root / f"seed-{seed}" / stage for seed in seeds]
    found = [depth_scores.stage_scores(f, images)[row] for f in folders if (f / "training.json").is_file()]
    return {kind: np.array([one[kind] for one in found]) for kind in depth_scores.KINDS}


def tabulate(scores: dict[str, dict[str, Floats]]) -> dict[str, Any]:
    """Metrics with intervals of every row, differences to the collaboration, and whether it beats the baselines."""
    metrics = {row: {kind: _intervals(v) for kind, v in _both(kinds).items()} for row, kinds in scores.items()}
    ours = _both(scores[COLLABORATION])["both"]
    differences = {
        row: _differences(ours, _both(kinds)["both"]) for row, kinds in scores.items() if row != COLLABORATION
    }

    def beats(row: str) -> bool:
        return all(differences[row][name][2] < 0 for name in CLAIMED)

    def apart(row: str) -> bool:
        own, other = metrics[COLLABORATION]["both"], metrics[row]["both"]
        return all(own[name][2] < other[name][1] for name in CLAIMED)

    return {
        "beats_baseline": beats(RIVAL),
        "beats_strong": {row: beats(row) for row in STRONG},
        "intervals_apart": {row: apart(row) for row in (RIVAL, *STRONG)},
        "metrics": metrics,
        "differences": differences,
        "differences_distant": {
            row: _differences(scores[COLLABORATION]["distant"], scores[row]["distant"]) for row in (RIVAL, *STRONG)
        },
    }


def _both(kinds: dict[str, Floats]) -> dict[str, Floats]:
    return {**kinds, "both": np.concatenate([kinds["indoor"], kinds["outdoor"]], axis=1)}


def _draws(scores_TIS: Floats, seed: int = 0) -> Floats:
    """Means ``(D, metrics)`` with seeds and images drawn anew; images without a value are left out."""
    rng = np.random.default_rng(seed)
    trained, images = scores_TIS.shape[:2]
    seeds_DT = rng.multinomial(trained, np.full(trained, 1 / trained), size=DRAWS) / trained
    images_DI = rng.multinomial(images, np.full(images, 1 / images), size=DRAWS).astype(np.float64)
    known = ~np.isnan(scores_TIS[0, :, 0])
    sums_DTS = np.einsum("di,tis->dts", images_DI[:, known], scores_TIS[:, known])
    counts_D11 = images_DI[:, known].sum(axis=1)[:, None, None]
    drawn: Floats = np.einsum("dt,dts->ds", seeds_DT, sums_DTS / counts_D11)
    return drawn


def _intervals(scores_TIS: Floats) -> dict[str, list[float]]:
    mean = np.nanmean(scores_TIS, axis=(0, 1))
    low, high = np.percentile(_draws(scores_TIS), [2.5, 97.5], axis=0)
    return {name: [round(float(x), 4) for x in (mean[i], low[i], high[i])] for i, name in enumerate(NAMES)}


def _differences(ours_TIS: Floats, theirs_TIS: Floats) -> dict[str, list[float]]:
    """Collaboration minus a row on the same images: [mean, low, high]; seeds are drawn for each by itself."""
    known = ~np.isnan(ours_TIS[0, :, 0]) & ~np.isnan(theirs_TIS[0, :, 0])
    ours_TIS, theirs_TIS = ours_TIS[:, known], theirs_TIS[:, known]
    images, rng = int(known.sum()), np.random.default_rng(1)
    images_DI = rng.multinomial(images, np.full(images, 1 / images), size=DRAWS) / images

    def drawn(scores_TIS: Floats) -> Floats:
        trained = len(scores_TIS)
        seeds_DT = rng.multinomial(trained, np.full(trained, 1 / trained), size=DRAWS) / trained
        means: Floats = np.einsum("dt,di,tis->ds", seeds_DT, images_DI, scores_TIS, optimize=True)
        return means

    gap = drawn(ours_TIS) - drawn(theirs_TIS)
    mean = ours_TIS.mean(axis=(0, 1)) - theirs_TIS.mean(axis=(0, 1))
    low, high = np.percentile(gap, [2.5, 97.5], axis=0)
    return {name: [round(float(x), 4) for x in (mean[i], low[i], high[i])] for i, name in enumerate(NAMES)}


def _budget(folder: Path) -> dict[str, Any]:
    said = json_.loads((folder / "training.json").read_text())
    return {key: said[key] for key in ("parameters", "cpu_seconds", "steps", "images", "recipe")}


def show(results: dict[str, Any]) -> None:
    """Prints the table."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 210)
    grid = Table(title="Metric depth, rooms and roads together: mean [95 % interval]", title_justify="left")
    grid.add_column("model", no_wrap=True)
    for name in SHOWN:
        grid.add_column(name, justify="right", no_wrap=True)
    for name in ("abs_rel rooms", "abs_rel roads", "rmse rooms", "rmse roads", "abs_rel 80-200 m"):
        grid.add_column(name, justify="right")
    for group in dict.fromkeys(group for _, group in TITLES.values()):
        grid.add_section()
        grid.add_row(f"[dim]{group}[/dim]")
        for row, (title, its) in TITLES.items():
            if its == group:
                grid.add_row(title, *_cells(results["metrics"][row]), style="bold" if row == COLLABORATION else None)
    console.print(grid)
    for row in (RIVAL, *STRONG):
        gap = results["differences"][row]
        said = ", ".join(f"{n} {gap[n][0]:+.4f} [{gap[n][1]:+.4f}, {gap[n][2]:+.4f}]" for n in CLAIMED)
        far = results["differences_distant"][row]["abs_rel"]
        said += f"; 80-200 m abs_rel {far[0]:+.4f} [{far[1]:+.4f}, {far[2]:+.4f}]"
        console.print(f"  pool minus {TITLES[row][0]}: {said}", highlight=False)
    for note in results["notes"]:
        console.print(f"[dim]· {note}[/dim]", highlight=False)


def _cells(kinds: dict[str, dict[str, list[float]]]) -> list[str]:
    both = [f"{v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for v in (kinds["both"][name] for name in SHOWN)]
    each = [f"{kinds[kind][name][0]:.3f}" for name in ("abs_rel", "rmse") for kind in ("indoor", "outdoor")]
    return [*both, *each, f"{kinds['distant']['abs_rel'][0]:.3f}"]


if __name__ == "__main__":
    main(quick="--quick" in sys.argv, json="--json" in sys.argv)
