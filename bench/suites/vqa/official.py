"""Answers in the forms of two benchmarks' own tools: MME's folder of texts, MMMU's outputs beside its answer key."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from aiflow.bench.suites import files
from aiflow.bench.suites.vqa.data import Item
from aiflow.bench.suites.vqa.mmmu import DOMAINS
from aiflow.bench.suites.vqa.score import PERCEIVED, REASONED
from aiflow.errors import DataError

KEY = "answer_dict_val.json"
OUTPUTS = "*_output.json"
_CATEGORIES = (*PERCEIVED, *REASONED)


class _Gold(BaseModel):
    model_config = ConfigDict(extra="ignore")

    question_type: str
    ground_truth: str | list[str]


_KEY = TypeAdapter(dict[str, _Gold])
_OUTPUT = TypeAdapter(dict[str, str])


def is_mme(folder: Path) -> bool:
    """Whether it is a folder of MME's own tool: a text file for each category."""
    return folder.is_dir() and any((folder / f"{name}.txt").is_file() for name in _CATEGORIES)


def mme(folder: Path) -> list[Item]:
    """The lines of a results folder: image, question, gold, answer, with tabs between; its name is the model's.

    Raises DataError for a category that is missing, and a line of another form.
    """
    items = []
    for category in _CATEGORIES:
        path = folder / f"{category}.txt"
        data = files.read(path, f"MME's tool needs the files of all {len(_CATEGORIES)} categories.")
        try:
            lines = data.decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is no UTF-8 ({error}); save it anew.") from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            parts = line.rstrip("\r").split("\t")
            if len(parts) != 4:
                raise DataError(f"{path}:{number} has {len(parts)} parts; give image, question, gold and answer.")
            image, question, gold, answer = parts
            items.append(
                Item(
                    id=f"{category}/{number}",
                    question=question,
                    answer=gold.strip().capitalize(),
                    category=category,
                    image=image,
                    said={folder.name: answer},
                )
            )
    return items


def is_mmmu(path: Path) -> bool:
    """Whether it is the answer key of MMMU's own tool, or a model's output, with the key beside it."""
    return path.is_file() and (path.name == KEY or path.match(OUTPUTS)) and (path.parent / KEY).is_file()


def mmmu(folder: Path, outputs: str = OUTPUTS) -> dict[str, list[Item]]:
    """Model -> what its ``*_output.json`` says to the questions of the key, already parsed where they have options.

    Raises DataError for an answer to no question of the key. A question without an answer is not the model's.
    """
    key = files.checked(_KEY.validate_python, files.load(folder / KEY), str(folder / KEY))
    found = {}
    for path in sorted(folder.glob(outputs)):
        said = files.checked(_OUTPUT.validate_python, files.load(path), str(path))
        if unknown := next((name for name in said if name not in key), None):
            raise DataError(f"{path} answers {unknown!r}, which {KEY} has not; give outputs and key of one split.")
        model = path.name.removesuffix("_output.json").removesuffix("_total_val")
        found[model] = _answered(key, said, model)
    return found


def _answered(key: Mapping[str, _Gold], said: Mapping[str, str], model: str) -> list[Item]:
    """In the order in which MMMU's tool goes through the subjects."""
    items = []
    for name, text in said.items():
        gold, closed = key[name].ground_truth, key[name].question_type == "multiple-choice"
        letters = {"A": ""} if closed else {}
        category = "_".join(name.split("_")[1:-1])
        items.append(
            Item(id=name, question="", answer=str(gold), options=letters, category=category, said={model: text})
        )
    known = [subject for names in DOMAINS.values() for subject in names]
    return sorted(items, key=lambda item: known.index(item.category) if item.category in known else len(known))
