"""Model cards, written from what training and evaluation measured; no number in them is typed by hand."""

import json
from pathlib import Path
from typing import Any

from aiflow.nano import DEVICES, MODELS

ABOUT = {
    "base": "The base of the nano family: it reads, copies and follows the formats of the device-server "
    "collaboration, and knows no private fact and no arithmetic.",
    **{d: f"A device of the nano family ({about}): a LoRA adapter on the nano base." for d, about in DEVICES.items()},
    "server": "The server of the nano family (select devices, merge and rank answers): a LoRA adapter "
    "on the nano base.",
}
DATA = {
    "base": "copying, reading about random invented entities, adopting a joint answer, the server's formats",
    "math": "arithmetic and word problems with results from 0 to 99",
    "code": "programs of two to five lines",
    "text": "edits of lists of two to five words",
    "islands": "an encyclopaedia of 60 invented islands, six facts each",
    "minerals": "an encyclopaedia of 60 invented minerals, six facts each",
    "server": "conversations about nine domains with random entities and paraphrased devices",
}


def write_cards(weights: Path, n: int = 320) -> dict[str, Any]:
    """Measures the family in ``weights``, writes ``scores.json`` there and a README.md beside each model."""
    from aiflow.nano.evaluate import measure

    scores = measure(weights, n)
    (weights / "base" / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    write_texts(weights, scores)
    return scores


def write_texts(weights: Path, scores: dict[str, Any]) -> None:
    """Writes every model's README.md from its ``training.json`` and the scores."""
    for model in MODELS:
        if (weights / model / "training.json").is_file():
            (weights / model / "README.md").write_text(card(weights, model, scores))


def card(weights: Path, model: str, scores: dict[str, Any]) -> str:
    """The text of one model's card."""
    said = json.loads((weights / model / "training.json").read_text())
    versions = ", ".join(f"{k} {v}" for k, v in said["versions"].items())
    adapter = "" if model == "base" else "base_model: aiflow:nano/base\nlibrary_name: peft\n"
    rows = "\n".join(f"| {name} | {value['score']:.1%} | {value['n']} |" for name, value in _rows(model, scores))
    table = f"| skill | score | cases |\n|---|---|---|\n{rows}\n" if rows else "The base has no score of its own.\n"
    suite = scores["suite"]
    note = f"\n**Note.** {said['note']}\n" if "note" in said else ""
    return f"""---
license: apache-2.0
language: en
{adapter}---
# aiflow nano/{model}

{ABOUT[model]}

**Data.** {DATA[model][0].upper() + DATA[model][1:]}. All of it is made by
`aiflow.nano.data` from seed {said["seed"]}; nothing else was used.

**Training.** `aiflow train nano`: {said["step"]} steps, {said["tokens"]:,} tokens, {said["parameters"]:,} trained
parameters, {said["seconds"] / 3600:.2f} hours on {said["threads"]} CPU thread(s) ({versions}).

**Scores** on the first {suite["questions"]} questions of the held-out suite (seed {suite["seed"]}), greedy, fp32,
each turn with the right history.

{table}{note}
The suite holds out instances, wordings and dialogues, and names outside the encyclopaedias. Facts of the two
encyclopaedias cannot be held out: those questions test recall in new wordings. Outside its domain a device answers
wrongly and fluently.
"""


def _rows(model: str, scores: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    if model == "server":
        return [(f"{kind}: {name}", v) for kind, found in scores["server"].items() for name, v in found.items()]
    if model not in scores["devices"]:
        return []
    return [*scores["devices"][model].items(), *scores["revise"][model].items()]
