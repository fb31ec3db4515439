"""Model cards of the two families, written from what training and evaluation measured; no number is typed by hand."""

import json
from pathlib import Path
from typing import Any

from aiflow.nano import FAMILIES

BASE_LICENCE = "license: apache-2.0\nlanguage: en"
DATA = {
    "family": "rendered scenes of shapes, words, bar charts, diagrams and forms with questions on them and captions "
    "(`aiflow.nano.visual`), and the generalist's dialogues (`aiflow.nano.data.generalist`)",
    "hpcd": "the generalist's dialogues (`aiflow.nano.data.generalist`): reading, copying, arithmetic, word problems, "
    "small programs, edits of lists, and two encyclopaedias of invented things",
}


def ship(out: Path, n: int = 100) -> dict[str, Any]:
    """Measures the families in ``out``, writes scores.json and README.md into their folders, returns the scores.

    Args:
        out: a folder with ``family`` and ``hpcd``, and the training reports of all stages.
        n: items of each visual form, and two-turn questions of each text skill.
    """
    measures = {"family": visual, "hpcd": low_rank}
    there = [name for name in FAMILIES if (out / name / "model.safetensors").is_file()]
    found = {name: measures[name](out / name, n) for name in there}
    for name, scores in found.items():
        stages = [json.loads(p.read_text()) for p in _reports(out, name)]
        (out / name / "scores.json").write_text(json.dumps({"items": n, "members": scores}, indent=1) + "\n")
        (out / name / "README.md").write_text(card(name, stages, scores, n))
    return found


def _reports(out: Path, name: str) -> list[Path]:
    stages = ["generalist", "tower", "model", "family"] if name == "family" else ["generalist", "hpcd"]
    return [out / stage / "training.json" for stage in stages if (out / stage / "training.json").is_file()]


def visual(folder: Path, n: int) -> list[dict[str, Any]]:
    """Of each member: its name, parameters and the score of each visual form."""
    from transformers import AutoTokenizer

    from aiflow.collaboration.familial.family import Family
    from aiflow.nano.family import evaluate

    family, tokenizer = Family.from_pretrained(folder, dtype="float32"), AutoTokenizer.from_pretrained(folder)
    rows = []
    for member, parameters in family.members():
        scores = evaluate.means(evaluate.visual(family.member(member), tokenizer, n))
        rows.append({"member": str(member), "parameters": parameters, "scores": scores})
    return rows


def low_rank(folder: Path, n: int) -> list[dict[str, Any]]:
    """Of each member: its name, parameters and the score of each text skill."""
    import torch
    from transformers import AutoTokenizer

    from aiflow.collaboration.familial import nested
    from aiflow.nano.family import evaluate

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for level in nested.members(folder):
        model = nested.load(folder, level.name, torch.float32)
        scores = evaluate.means(evaluate.text(model, tokenizer, n))
        rows.append({"member": level.name, "parameters": level.parameters, "scores": scores})
    return rows


def card(name: str, stages: list[dict[str, Any]], rows: list[dict[str, Any]], n: int) -> str:
    """The text of one family's card."""
    names = list(rows[0]["scores"])
    head = "| member | parameters | " + " | ".join(names) + " | mean |\n|---|---|" + "---|" * (len(names) + 1)
    table = "\n".join(_row(row, names) for row in rows)
    steps = "\n".join(
        f"| {s['stage']} | {s['seed']} | {s['step']:,} | {s.get('tokens', 0):,} | {s.get('seconds', 0) / 60:.0f} |"
        for s in stages
    )
    versions = ", ".join(f"{k} {v}" for k, v in stages[-1]["versions"].items())
    last = rows[-1]["member"]
    return f"""---
{BASE_LICENCE}
---
# aiflow nano/{name}

{FAMILIES[name][0].upper() + FAMILIES[name][1:]}. Use one member as a model: `aiflow:nano/{name}#{rows[0]["member"]}`
(smallest) to `aiflow:nano/{name}#{last}` (largest).

**Data.** Procedural: {DATA[name]}. Nothing else was used.

**Training.** `aiflow train family` on CPU threads ({versions}):

| stage | seed | steps | tokens or patches | minutes |
|---|---|---|---|---|
{steps}

**Scores** on the first {n} held-out items of each suite, greedy, fp32:

{head}
{table}

The suites hold out instances (which objects, words, charts, diagrams), not wordings. Outside these tasks the models
answer wrongly and fluently.
"""


def _row(row: dict[str, Any], names: list[str]) -> str:
    scores = [row["scores"][name] for name in names]
    cells = " | ".join(f"{100 * x:.1f}" for x in [*scores, sum(scores) / len(scores)])
    return f"| {row['member']} | {row['parameters']:,} | {cells} |"
