"""Reads what a user names: model folders, files of texts, lists of numbers. Everything wrong is a typed error here.

Legend: B rows, T tokens.
"""

import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiflow.errors import InputError, UnknownModelError, suggest
from aiflow.units import parse

if TYPE_CHECKING:
    from torch import Tensor

STORAGES = ("float32", "bfloat16", "int8")
_COUNT = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9}


def one_of(name: str, value: str, known: Sequence[str]) -> None:
    """Raises InputError with the nearest of the known values."""
    if value not in known:
        raise InputError(f"{name}={value!r} is not known; {suggest(value, list(known))}")


def folder_of(model: str) -> tuple[Path, Path | None]:
    """The folder of a model and, if any, of the LoRA adapter over it. Raises UnknownModelError."""
    if model.startswith("aiflow:"):
        from aiflow import nano

        return nano.resolve(model.removeprefix("aiflow:"))
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise UnknownModelError(f"there is no folder {model!r}; give a folder with config.json and weights.")
    return folder, None


def plain_folder(model: str) -> Path:
    """A folder that can have no adapter. Raises UnknownModelError."""
    folder, adapter = folder_of(model)
    if adapter is not None:
        raise UnknownModelError(f"{model!r} is an adapter over {folder}; give a family or a whole model.")
    return folder


def kind_of(folder: Path) -> str:
    """The ``model_type`` of a folder's config.json; "" if it says none. Raises UnknownModelError."""
    try:
        fields = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        raise UnknownModelError(f"{folder} has no readable config.json; give the folder of a model.") from None
    return str(fields.get("model_type", "")) if isinstance(fields, dict) else ""


def config_of(folder: Path) -> Any:
    """The transformers config of a model that can be branched. Raises UnknownModelError, UnsupportedModelError."""
    from transformers import AutoConfig

    from aiflow.collaboration.familial.kinds import text_config

    kind = kind_of(folder)
    if kind.startswith("aiflow_"):
        raise InputError(f"{folder} is the result of `aiflow familial` already ({kind}); give the plain model.")
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UnknownModelError(f"{folder} holds no model that transformers can read: {reason}") from error
    text_config(config)
    return config


def apart(folder: Path, out: Path) -> None:
    """Raises InputError where the result would overwrite its source."""
    if folder.resolve() == out.expanduser().resolve():
        raise InputError(f"{out} is the source itself; write to another folder.")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give a folder to write to.")


def same_run(folder: Path, run: dict[str, Any], resume: bool) -> None:
    """Raises InputError where the checkpoints there belong to other settings."""
    path = folder / "run.json"
    kept = {key: value for key, value in run.items() if key not in ("resume", "json", "storage", "out")}
    if resume and path.is_file():
        before = json.loads(path.read_text())
        odd = [key for key in kept if before.get(key) != kept[key]]
        if odd:
            raise InputError(
                f"{folder} belongs to a run with {odd[0]}={before.get(odd[0])!r}, not {kept[odd[0]]!r}; "
                "use --no-resume or another folder."
            )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept))


def companions(source: Path, out: Path) -> None:
    """Copies what stands beside the weights: tokenizer, processor, chat template, generation settings."""
    for path in sorted(source.iterdir()):
        weights = path.name == "config.json" or ".safetensors" in path.name or ".bin" in path.name
        known = path.suffix in (".json", ".model", ".jinja") or path.name in ("merges.txt", "vocab.txt")
        if known and not weights and path.name != "decomposition.json":
            shutil.copyfile(path, out / path.name)


def numbers(name: str, text: str) -> list[int]:
    """Reads "2,4". Raises InputError."""
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise InputError(f"{name}={text!r} is not usable; write whole numbers with commas, such as 2,4.") from None


def shares(text: str) -> list[float]:
    """Reads "0.2,0.4", in ascending order. Raises InputError."""
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        found = [math.nan]
    if not all(0 < share <= 1 for share in found):
        raise InputError(f"keep={text!r} is not usable; write shares above 0 and up to 1 with commas: 0.2,0.4,0.6.")
    return found


def count(text: str) -> int:
    """Reads a number of parameters such as 1200000, 1.2M or 3B. Raises UsageError."""
    return int(parse(re.sub(r"[_ ]", "", text), _COUNT, "1.5M"))


def texts(file: Path) -> list[str]:
    """The texts of a file.

    .jsonl: one object with "text" per line. Anything else: paragraphs between blank lines, or, in a file without blank
    lines, its lines. Raises InputError for a file that is missing, malformed or without text.
    """
    try:
        whole = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the texts {str(file)!r} cannot be read ({type(error).__name__}); give a .txt or .jsonl file."
        ) from None
    if file.suffix == ".jsonl":
        found = [_text_of(file, number, line) for number, line in enumerate(whole.splitlines(), 1) if line.strip()]
    else:
        blocks = re.split(r"\n[ \t]*\n", whole.strip())
        found = blocks if len(blocks) > 1 else whole.splitlines()
    found = [text.strip() for text in found if text.strip()]
    if not found:
        raise InputError(f"{str(file)!r} holds no text; write one text per line or per paragraph.")
    return found


def _text_of(file: Path, number: int, line: str) -> str:
    try:
        return str(json.loads(line)["text"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f'line {number} of {str(file)!r} is no object with "text"; write {{"text": "..."}}.') from None


class Tokens:
    """Texts as token ids. ``vocabulary``: the tokenizer's size, without the rows that pad a matrix."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise UnknownModelError(f"{folder} has no tokenizer that can be read; copy its files there.") from error
        self.vocabulary = len(self.tokenizer)

    def rows(self, found: Sequence[str], length: int) -> list[list[int]]:
        """Ids of each text, at most ``length``; a text of padding only becomes an empty row."""
        pad, end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        rows: list[list[int]] = [self.tokenizer(text, verbose=False)["input_ids"][:length] for text in found]
        return [[] if pad != end and set(row) <= {pad} else row for row in rows]

    @staticmethod
    def padded(rows: Sequence[Sequence[int]]) -> "tuple[Tensor, Tensor]":
        """Ids (B, T), padded on the right with 0, and a mask (B, T) that is False there."""
        import torch

        ids_BT = torch.zeros(len(rows), max(1, *map(len, rows)), dtype=torch.long)
        mask_BT = torch.zeros(ids_BT.shape, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids_BT[i, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask_BT[i, : len(row)] = True
        return ids_BT, mask_BT
