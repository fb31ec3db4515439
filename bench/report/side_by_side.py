"""Two runs as one page: what both answered to their common questions, and the paired differences.

The page is that of a run, with subjects ``A: name`` and ``B: name``; its list finds the questions where they differ.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiflow.bench import log
from aiflow.bench.report.compare import common, compare_materials
from aiflow.bench.report.material import Material, of_folder
from aiflow.bench.report.page import page
from aiflow.bench.report.rebuild import rebuilt
from aiflow.bench.results import Results
from aiflow.bench.stats import Estimate
from aiflow.bench.suite import Record, Sample

NOTE = "Every difference is B - A on the questions that both have a score for, with a paired bootstrap interval."


def write_comparison(a: Path, b: Path, out: Path) -> Path:
    """Writes the page of two runs and returns its path. Raises DataError for runs that cannot be compared."""
    text = page(side_by_side(of_folder(a), of_folder(b), str(a), str(b)))
    out.parent.mkdir(parents=True, exist_ok=True)
    log.replace(out, text)
    return out


def side_by_side(left: Material, right: Material, a: str, b: str) -> Material:
    """One material of two runs, which are called ``a`` and ``b``: their common questions, the paired subjects only."""
    told = compare_materials(left, right, a, b)
    samples = common(left, right)[0]
    texts = {sample.id: sample for sample in right.samples}
    samples = [sample if any(sample.turns) else texts[sample.id] for sample in samples]
    records = {
        f"{side}: {pair[side.lower()]}": _renamed(
            f"{side}: {pair[side.lower()]}", material, pair[side.lower()], samples
        )
        for pair in told["subjects"]
        for side, material in (("A", left), ("B", right))
    }
    results = Results(
        title=f"{told['suite']}: two runs",
        suite=told["suite"],
        questions=len(samples),
        best=told["best"],
        unit=told["unit"],
        rows=[replace(row, group="common questions") for row in rebuilt(samples, records)],
        differences=dict(map(_difference, filter(_scored, told["subjects"]))),
        notes=[NOTE],
        run={"A": a, "B": b},
    )
    return Material(results=results, samples=samples, records=records)


def _renamed(name: str, material: Material, subject: str, samples: list[Sample]) -> dict[str, Record]:
    found = material.records[subject]
    return {sample.id: replace(found[sample.id], subject=name) for sample in samples if sample.id in found}


def _scored(pair: Mapping[str, Any]) -> bool:
    return bool(pair["n"])


def _difference(pair: Mapping[str, Any]) -> tuple[str, Estimate]:
    name = pair["a"] if pair["a"] == pair["b"] else f"{pair['a']} / {pair['b']}"
    p = f"p {pair['p']:.3f}" if pair["p"] >= 0.001 else "p < 0.001"
    return f"{name}, {p}, n {pair['n']}", Estimate(pair["difference"], *pair["difference_ci"])
