"""Table VII in form: INS -> REC beside one-stage generators and INS alone, on scenes of free order.

``python -m aiflow.bench.diffusion.motion [--quick] [--json] [--no-train]``. Trains what is missing (resumable), makes
motions for held-out captions, judges by a frozen evaluator and by exact template checks. Intervals: 95 %, by drawing
seeds and scenes anew (the Frechet distance's shifted by the bias that drawing adds).

Legend: N scenes, D draws, Z embedding.
"""

import json as json_
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiflow.bench.diffusion.motion_scores import Floats, Row, Scores, means, modality, real, scores
from aiflow.bench.diffusion.plots import pairs_map
from aiflow.bench.provenance import provenance
from aiflow.diffusion.motion.train import MAP
from aiflow.diffusion.training import tell, train

OURS, LOOP, ALONE, ONE_STAGE, STRONG = "ins_rec post", "ins_rec loop", "ins", "joint", "strong"
ROWS = (
    Row(key=OURS, stage="ins", rec="rec", mode="post"),
    Row(key=LOOP, stage="ins", rec="rec", mode="loop"),
    Row(key=ALONE, stage="ins"),
    Row(key=ONE_STAGE, stage="joint"),
    Row(key=STRONG, stage="strong"),
)
"""Of every seed."""
ONE_SEED = (
    Row(key="mdm", stage="mdm"),
    Row(key="no time control", stage="ins_free"),
    Row(key="no L_smooth", stage="ins_rough"),
    Row(key="no L_rela", stage="ins", rec="rec_free", mode="post"),
    Row(key="sequential REC", stage="ins", rec="rec_sequential", mode="post"),
)
"""Of the first seed, where they were trained."""
TITLES = {
    OURS: "INS -> REC, one hand-off",
    LOOP: "INS -> REC, in every step",
    ALONE: "INS alone",
    ONE_STAGE: "one-stage joint, as recorded",
    STRONG: "one-stage joint, interleaved",
    "mdm": "independent persons (MDM-like)",
}
SHOWN = ("r1", "r2", "r3", "fid", "mm_dist", "diversity", "gap", "timing", "skate")
DRAWS = 200
FULL, FEW, POOL = 288, 96, 96
NOTES = (
    "R-Precision over pools of 96, features x 6 before FID and diversity (halved): the InterHuman protocol.",
    "The evaluator learnt that persons out of place or time fit no caption; JSON: lax, by one that did not.",
    "gap: metres between hands that must touch; timing: frames; skate: metres a frame. The checks know the template.",
    "as recorded: pairs as they met and solo clips. interleaved: the sequences that INS and REC learn from, too.",
    "Joint generators have about the parameters and CPU-seconds of INS and REC together (JSON: budget).",
    "Procedural scenes of at most 4.8 s: the form of the paper's table, not its figures.",
)


def main(
    seeds: int | Sequence[int] = 3,
    out: Path = Path("runs/diffusion"),
    quick: bool = False,
    plots: Path | None = None,
    json: bool = False,
    nodes: Callable[[str], dict[str, Any]] | None = None,
    fit: bool = True,
) -> dict[str, Any]:
    """Trains, scores and prints the table; with ``json`` one object as the last line of stdout.

    Args:
        seeds: how many, or which; the first one also has the baselines of one seed.
        out: ``out/motion/seed-<n>/<stage>`` keeps models and scores.
        quick: one seed, a fiftieth of the steps, few scenes: a look at the form.
        plots: a folder for a GIF of INS alone beside INS -> REC, and the map over recorded pairs.
        json: see above.
        nodes: measures latency and bytes of the nodes; called with "motion".
        fit: train what is missing; otherwise rows have the seeds that are there (see "trained").
    """
    chosen = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    chosen, count = (chosen[:1], FEW) if quick else (chosen, FULL)
    root = out / ("motion-quick" if quick else "motion")
    for seed in chosen if fit else ():
        _train(root, seed, chosen[0], 0.02 if quick else 1.0)
    first = root / f"seed-{chosen[0]}"
    judge = first / "evaluator"
    features, ideal = real(judge, count, POOL)
    folders = {row.key: [f for s in chosen if _there(f := root / f"seed-{s}", row)] for row in ROWS}
    folders |= {row.key: [first] for row in ONE_SEED if _there(first, row)}
    found = {
        row.key: [scores(folder, judge, row, count, POOL) for folder in folders[row.key]]
        for row in (*ROWS, *ONE_SEED)
        if folders.get(row.key)
    }
    results = tabulate(found, features, ideal)
    results |= {
        "trained": {key: len(there) for key, there in folders.items()},
        "modality": {row.key: round(modality(first, judge, row), 4) for row in ROWS if _there(first, row)},
        "lax": _lax(first, folders, count),
        "pairs": _pairs(first, features, count),
        "seeds": chosen,
        "scenes": count,
        "quick": quick,
        "budget": {stage: _budget(root, chosen, stage) for stage in ("ins", "rec", "joint", "strong", "mdm")},
        "nodes": nodes("motion") if nodes else None,
        "notes": list(NOTES),
        "produced": provenance(),
    }
    show(results)
    if plots is not None:
        _picture(first, plots)
        pairs_map(results["pairs"], plots / "motion-map.png")
    if json:
        print(json_.dumps(results))
    return results


def _train(root: Path, seed: int, first: int, scale: float) -> None:
    """The judge is trained once and is the same for every seed."""
    folder, judge = root / f"seed-{seed}", root / f"seed-{first}" / "evaluator"
    if seed != first and not (folder / "evaluator").exists():
        shutil.copytree(judge, folder / "evaluator")
        said = json_.loads((folder / "evaluator" / "training.json").read_text())
        (folder / "evaluator" / "training.json").write_text(json_.dumps(said | {"seed": seed, "trained": first}))
    stages = dict.fromkeys(["evaluator", *(name for row in ROWS for name in (row.stage, row.rec) if name)])
    if seed == first and scale == 1.0:
        several = [f"{name}_{pairs}" for pairs in MAP for name in ("ins", "rec", "joint", "strong")]
        stages |= dict.fromkeys(["mdm", "evaluator_lax", *several])
    train("motion", folder, seed=seed, only=list(stages), scale=scale, progress=tell)


def _there(folder: Path, row: Row) -> bool:
    return all((folder / stage / "training.json").is_file() for stage in (row.stage, row.rec) if stage)


def tabulate(found: Mapping[str, list[Scores]], features_NZ: Floats, ideal: Scores) -> dict[str, Any]:
    """Numbers with intervals of every row; both modes of the collaboration minus every rival, and whether they beat it.

    To beat is to be better in FID and gap, intervals of the differences without 0, and not worse in R-Precision@1.
    """
    drawn = {key: _draws(scored, features_NZ) for key, scored in found.items()}
    points = {key: _points(scored, features_NZ) for key, scored in found.items()}
    values = {key: {n: _interval(points[key][n], drawn[key][n]) for n in points[key]} for key in found}
    values["real"] = {n: [round(float(v), 4)] * 3 for n, v in means(ideal, features_NZ).items()}
    differences = {
        ours: {
            key: {n: _interval(points[ours][n] - points[key][n], drawn[ours][n] - drawn[key][n]) for n in points[key]}
            for key in found
            if key not in (OURS, LOOP)
        }
        for ours in (OURS, LOOP)
        if ours in found
    }

    def beaten(ours: str, key: str) -> bool | None:
        gaps = differences.get(ours, {}).get(key)
        return None if gaps is None else bool(gaps["fid"][2] < 0 and gaps["gap"][2] < 0 and gaps["r1"][2] >= 0)

    return {
        "beats_baseline": beaten(OURS, ONE_STAGE),
        "beats": {ours: {key: beaten(ours, key) for key in (ONE_STAGE, ALONE, STRONG)} for ours in (OURS, LOOP)},
        "timing_frames": values[OURS]["timing"],
        "metrics": values,
        "differences": differences,
    }


def _points(scored: list[Scores], features_NZ: Floats) -> dict[str, float]:
    each = [means(one, features_NZ) for one in scored]
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}


def _draws(scored: list[Scores], features_NZ: Floats) -> dict[str, NDArray[np.float64]]:
    """Each number's values (D,) with seeds and scenes drawn anew; the same scenes for every row."""
    scenes_rng, seeds_rng = np.random.default_rng(0), np.random.default_rng(1)
    values: list[dict[str, float]] = []
    for _ in range(DRAWS):
        rows = scenes_rng.integers(len(scored[0].match_N), size=len(scored[0].match_N))
        picked = seeds_rng.integers(len(scored), size=len(scored))
        values.append(_points([_taken(scored[k], rows) for k in picked], features_NZ))
    return {name: np.array([one[name] for one in values]) for name in values[0]}


def _taken(one: Scores, rows: NDArray[np.int64]) -> Scores:
    return replace(one, **{name: value[rows] for name, value in vars(one).items()})


def _interval(point: float, drawn_D: NDArray[np.float64]) -> list[float]:
    """[value, low, high]; the draws are shifted so that their mean is the value."""
    low, high = np.percentile(drawn_D - drawn_D.mean() + point, [2.5, 97.5])
    return [round(float(x), 4) for x in (point, low, high)]


def _pairs(first: Path, features_NZ: Floats, count: int) -> dict[str, Any]:
    """The map over the amount of pair data (one seed, half the steps), of what was trained."""
    found: dict[str, Any] = {}
    for pairs in MAP:
        rows = [replace(row, stage=f"{row.stage}_{pairs}", rec=row.rec and f"{row.rec}_{pairs}") for row in ROWS]
        made = {
            row.key: means(scores(first, first / "evaluator", row, count, POOL), features_NZ)
            for row in rows
            if _there(first, row)
        }
        found[str(pairs)] = {key: {name: round(float(v), 4) for name, v in one.items()} for key, one in made.items()}
    return found


def _lax(first: Path, folders: Mapping[str, list[Path]], count: int) -> dict[str, Any]:
    """The same motions by an evaluator that never learnt what persons out of place or time look like."""
    judge = first / "evaluator_lax"
    if not (judge / "training.json").is_file():
        return {}
    features, ideal = real(judge, count, POOL)
    found = {"real": means(ideal, features)}
    for row in ROWS:
        each = [means(scores(folder, judge, row, count, POOL), features) for folder in folders[row.key]]
        if each:
            found[row.key] = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
    return {key: {n: round(float(one[n]), 4) for n in ("r1", "fid", "mm_dist")} for key, one in found.items()}


def _budget(root: Path, seeds: Sequence[int], stage: str) -> dict[str, Any]:
    facts = [root / f"seed-{seed}" / stage / "training.json" for seed in seeds]
    said = [json_.loads(path.read_text()) for path in facts if path.is_file()]
    return {"parameters": said[0]["parameters"], "cpu_seconds": [one["cpu_seconds"] for one in said]} if said else {}


def show(results: Mapping[str, Any]) -> None:
    """Prints the table."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    shown = sys.stdout if sys.stdout.isatty() else sys.stderr
    console = Console(file=shown, width=None if shown.isatty() else 190)
    title = f"Serial collaboration · {results['scenes']} scenes · seeds {results['seeds']}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for name in SHOWN:
        table.add_column(name, justify="right", no_wrap=True)
    for key in ("real", *(k for k in results["metrics"] if k != "real")):
        cells = [_cell(results["metrics"][key][name], key == "real") for name in SHOWN]
        table.add_row(TITLES.get(key, key), *cells, style="bold green" if key == OURS else None)
    console.print(table)
    for note in results["notes"]:
        console.print(f"[dim]· {note}[/dim]", highlight=False)


def _cell(value: Sequence[float], alone: bool) -> str:
    return f"{value[0]:.3f}" if alone else f"{value[0]:.3f}\n[{value[1]:.3f}, {value[2]:.3f}]"


def _picture(first: Path, plots: Path) -> None:
    from aiflow.bench.diffusion.motion_scores import generate, pipeline, scenes
    from aiflow.diffusion.motion.picture import draw

    clip = next(one for one in scenes("test", 96) if one.kinds == ("solo", "interaction", "solo") and one.touches)
    sides = {}
    for row in (ROWS[2], ROWS[0]):
        u = generate(pipeline(first, row), [clip], row.mode)[0, :, : clip.frames, :66]
        sides[TITLES[row.key]] = u.reshape(2, clip.frames, 22, 3).double().numpy()
    draw(plots / "motion.gif", sides, caption=clip.caption, kinds=clip.kinds, starts=clip.starts, touches=clip.touches)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv, json="--json" in sys.argv, fit="--no-train" not in sys.argv)
