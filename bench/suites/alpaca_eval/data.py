"""AlpacaEval's files: instructions with the baseline's outputs, outputs of models, the judge's prompt, and what the
length control needs. Official forms and those of the recorded folder. Nothing is scored here.
"""

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, TypeAdapter

from aiflow.bench.suites import files
from aiflow.bench.suites.alpaca_eval.length_control import Coefficients, Gamed
from aiflow.bench.suites.alpaca_eval.score import Floats
from aiflow.errors import DataError
from aiflow.types import Message

NAME = "alpaca_eval"
BASELINE = "gpt4_1106_preview"
ANNOTATIONS, OUTPUTS, ROUNDS = "annotations.json", "model_outputs", "moa_rounds"
COEFFICIENTS = "glm_coefficients_200models.csv"
_HUB = "https://huggingface.co/datasets/tatsu-lab/alpaca_eval/resolve/main"
_CODE = "https://raw.githubusercontent.com/tatsu-lab/alpaca_eval/main/src/alpaca_eval"
QUESTIONS, PROMPT = "alpaca_eval_gpt4_baseline.json", "judge_prompt_alpaca_eval_clf.txt"
URLS = {
    QUESTIONS: f"{_HUB}/{QUESTIONS}",
    PROMPT: f"{_CODE}/evaluators_configs/alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt",
}
DIFFICULTY = ("instruction_difficulty.csv", "instruction_difficulty_recovered.csv")
GAMED = ("df_gamed.csv", "df_gamed_surrogate.csv")
GAMED_MODELS = 2
CONTROL_URLS = {DIFFICULTY[0]: f"{_HUB}/{DIFFICULTY[0]}", GAMED[0]: f"{_HUB}/{GAMED[0]}"}
_PLACES = ("{instruction}", "{output_1}", "{output_2}")


@dataclass(frozen=True, kw_only=True)
class Question:
    """An instruction with the baseline's output. ``id``: its place in the official order, from "0"."""

    id: str
    instruction: str
    dataset: str
    baseline: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Control:
    """What the length control needs beside annotations: the difficulty of every instruction, and the gamed rows.

    ``files``: where both were read, which may be another folder than the annotations'.
    """

    difficulty: Floats = field(repr=False)
    gamed: Gamed = field(repr=False)
    files: tuple[Path, ...] = ()


class _Output(BaseModel):
    output: str
    instruction: str = ""
    dataset: str = ""
    i: int | None = None


class _Questions(BaseModel):
    instructions: list[str]
    dataset: list[str] = []


_OUTPUTS = TypeAdapter(list[_Output | str])


def folder(data: Path | None, *markers: str, urls: Mapping[str, str] | None = None) -> Path:
    """The folder with the first of ``markers`` that is anywhere: in ``data`` if given, else in the default ones.

    Raises DataError that says where it was looked for.
    """
    for marker in markers[:-1]:
        try:
            return files.locate(NAME, data, marker)
        except DataError:
            continue
    return files.locate(NAME, data, markers[-1], urls)


def questions(data: Path | None) -> list[Question]:
    """All instructions with the baseline's outputs; from the official file, or from the recorded folder.

    Raises DataError that names the file.
    """
    root = folder(data, f"{OUTPUTS}/{BASELINE}.json", QUESTIONS, urls=URLS)
    if files.find(root / QUESTIONS):
        return _questions(root / QUESTIONS, _read_outputs(root / QUESTIONS))
    path = root / ANNOTATIONS
    told = files.checked(_Questions.model_validate, files.load(path), str(path))
    files.unique(told.instructions, str(path))
    said = _read_outputs(root / OUTPUTS / f"{BASELINE}.json")
    kinds = told.dataset or [""] * len(told.instructions)
    if not len(said) == len(told.instructions) == len(kinds):
        raise DataError(f"{path} holds {len(told.instructions)} instructions, the baseline answered {len(said)}.")
    return [
        Question(id=str(n), instruction=text, dataset=kind, baseline=said[n].output)
        for n, (text, kind) in enumerate(zip(told.instructions, kinds, strict=True))
    ]


def _questions(path: Path, rows: Mapping[int, _Output]) -> list[Question]:
    files.unique((row.instruction for row in rows.values()), str(path))
    return [
        Question(id=str(n), instruction=row.instruction, dataset=row.dataset, baseline=row.output)
        for n, row in rows.items()
    ]


def outputs(data: Path | None) -> dict[str, dict[str, tuple[str, ...]]]:
    """Model (or Mixture-of-Agents round) -> sample id -> its one text; an instruction without an output is not there.

    Raises DataError that names the file.
    """
    root = folder(data, f"{OUTPUTS}/{BASELINE}.json")
    found = sorted([*(root / OUTPUTS).glob("*.json*"), *(root / ROUNDS).glob("*.json*")])
    return {
        path.name.split(".json")[0]: {str(n): (row.output,) for n, row in _read_outputs(path).items()} for path in found
    }


def _read_outputs(path: Path) -> dict[int, _Output]:
    """Rows by their number: the row's own ``i``, else its place."""
    rows = files.checked(_OUTPUTS.validate_python, files.load(path), str(path))
    typed = [_Output(output=row) if isinstance(row, str) else row for row in rows]
    numbers = [n if row.i is None else row.i for n, row in enumerate(typed)]
    files.unique(map(str, numbers), str(path))
    return dict(zip(numbers, typed, strict=True))


def prompt(data: Path | None) -> tuple[Message, ...]:
    """The judge's prompt, its chat markup read as messages; the places to fill stay in it.

    Raises DataError where the file is missing, has no markup, or lacks a place.
    """
    path = folder(data, PROMPT, "alpaca_eval_clf.txt", PROMPT, urls=URLS) / PROMPT
    text = files.text(path if files.find(path) else path.with_name("alpaca_eval_clf.txt"))
    found = re.findall(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", text, flags=re.DOTALL)
    lacking = [place for place in _PLACES if text.count(place) != 1]
    if not found or lacking:
        fault = f"does not hold {', '.join(lacking)} once" if lacking else "holds no <|im_start|> ... <|im_end|>"
        raise DataError(f"{path} {fault}; get it from {URLS[PROMPT]}.")
    return tuple(Message(role, said.strip()) for role, said in found)


def filled(template: tuple[Message, ...], instruction: str, first: str, second: str) -> tuple[Message, ...]:
    """The prompt about two outputs in the order shown; what the texts hold is never taken for a place or markup."""
    values = dict(zip(_PLACES, (instruction, first, second), strict=True))
    place = re.compile("|".join(map(re.escape, _PLACES)))
    return tuple(Message(m.role, place.sub(lambda found: values[found[0]], m.text)) for m in template)


def control(data: Path | None) -> Control:
    """Difficulties and gamed rows, from ``data``, else from the default folders; official files, else recovered ones.

    Raises DataError that names what is missing, or the line that is malformed.
    """
    place, path = _anywhere(data, DIFFICULTY), _anywhere(data, GAMED)
    hard = _table(place, ("instruction_difficulty",))
    rows = _table(path, ("std_delta_len", "instruction_difficulty", "preference"))
    if len(rows) != GAMED_MODELS * len(hard):
        told = f"{len(rows)} rows for {len(hard)} instructions, not {GAMED_MODELS} each"
        raise DataError(f"{path} holds {told}; without all of them the length control is wrong. Get it anew.")
    rows = rows[~np.isnan(rows[:, 2])]
    if not np.isfinite(rows).all():
        raise DataError(f"{path} has rows with a preference but no length or difficulty; get it anew.")
    x_G3 = np.column_stack([np.tanh(rows[:, 0]), rows[:, 1], np.zeros(len(rows))])
    return Control(difficulty=hard[:, 0], gamed=Gamed(x_G3=x_G3, y_G=rows[:, 2]), files=(place, path))


def coefficients(data: Path | None) -> dict[str, Coefficients]:
    """Model -> published coefficients; empty where the file is nowhere."""
    try:
        path = _anywhere(data, (COEFFICIENTS,))
    except DataError:
        return {}
    columns = ("np.tanh(std_delta_len)", "instruction_difficulty", "not_gamed_baseline.astype(float)")
    table = _table(path, columns)
    names = [row[0] for row in csv.reader(files.text(path).splitlines()) if row][1:]
    return {n: Coefficients(length=a, difficulty=b, model=c) for n, (a, b, c) in zip(names, table, strict=True)}


def _anywhere(data: Path | None, names: tuple[str, ...]) -> Path:
    root = data if data is None or data.is_dir() else data.parent
    for given in dict.fromkeys((root, None)):
        for name in names:
            try:
                found = files.locate(NAME, given, name) / name
            except DataError:
                continue
            return found
    urls = {name: url for name, url in CONTROL_URLS.items() if name in names}
    return files.locate(NAME, None, names[0], urls) / names[0]


def _table(path: Path, columns: tuple[str, ...]) -> Floats:
    """The named columns of a CSV file; an empty cell is NaN."""
    reader = csv.DictReader(files.text(path).splitlines())
    rows: list[list[Any]] = []
    try:
        if lacking := [name for name in columns if name not in (reader.fieldnames or ())]:
            raise DataError(f"{path} has no column {', '.join(lacking)}; get it anew.")
        for row in reader:
            rows.append([float(row[name]) if row[name] else math.nan for name in columns])
    except DataError:
        raise
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}:{reader.line_num} holds no number ({error}); get it anew.") from error
    return np.array(rows, dtype=np.float64).reshape(-1, len(columns))
