"""Models whose block linears are low-rank factors: several nested members in one file, each a prefix of the next.

``model.safetensors`` holds what all members share (embeddings, norms, biases, LM head, vision parts, as they were),
then level by level the components that this level adds: rows ``ranks[k-1]:ranks[k]`` of u and v of every linear. So
the first bytes of the file are the smallest member, a few more the next. ``config.json`` says where each one ends.
Knows nothing of calibration: `decompose` finds the factors. Source: AI Flow, section III-A1.

Legend: M outputs, N inputs, H components.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.familial.checkpoint import SINGLE, Checkpoint, new_model
from aiflow.collaboration.familial.kinds import LINEARS, VISION, new_block, parts, set_linear, text_config
from aiflow.collaboration.familial.linear import LowRank
from aiflow.collaboration.familial.store import Lazy, Reader, Storage, write
from aiflow.errors import InputError, WeightsError, suggest

MODEL_TYPE = "aiflow_nested"
Rows = Callable[[str, str, slice], Tensor]
"""(linear, "u" or "v", rows) -> those rows of that factor."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A member: ``ranks`` by linear, ``parameters`` of the whole model, ``bytes`` of the file that it needs.

    ``available``: whether the file here is that long.
    """

    name: str
    ranks: dict[str, int]
    parameters: int
    bytes: int
    available: bool = True


def linears(depth: int, layers: str) -> list[str]:
    """Names of all block linears of a decoder of ``depth`` blocks whose names begin with ``layers``."""
    return [f"{layers}{i}.{name}" for i in range(depth) for name in LINEARS]


def save(
    folder: Path,
    checkpoint: Checkpoint,
    levels: Sequence[tuple[str, Mapping[str, int]]],
    rows: Rows,
    dtype: torch.dtype,
    *,
    storage: Storage | None = None,
) -> list[Level]:
    """Writes the members, smallest first, holding one tensor at a time.

    Args:
        folder: made if needed; gets model.safetensors and config.json.
        checkpoint: the dense model; everything but its block linears is copied in its own dtype.
        levels: (name, rank by linear); ranks must not fall from level to level, names must differ.
        rows: gives rows of the factors, in ``dtype``.
        dtype: of the factors.
        storage: of the factors; None: ``dtype``.

    Raises InputError for ranks that fall or names that repeat.
    """
    check_levels(levels)
    names = linears(checkpoint.text.num_hidden_layers, checkpoint.layers)
    dense = {f"{name}.weight" for name in names}
    shared = [name for name in checkpoint.names if name not in dense]
    entries = [
        (name, Lazy(shape=checkpoint.shapes[name], dtype=checkpoint.dtypes[name], load=partial(checkpoint.read, name)))
        for name in shared
    ]
    before = dict.fromkeys(names, 0)
    for k, (_, ranks) in enumerate(levels):
        for name in names:
            part = slice(before[name], ranks[name])
            if part.start < part.stop:
                entries += _increment(k, name, part, checkpoint.shapes[f"{name}.weight"], rows, dtype)
            before[name] = ranks[name]
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / SINGLE, entries, storage=lambda name: storage if name.startswith("levels.") else None)
    ends = _ends(Reader(folder / SINGLE), len(levels))
    fixed = sum(torch.Size(checkpoint.shapes[name]).numel() for name in shared)
    found = []
    for (title, ranks), end in zip(levels, ends, strict=True):
        count = fixed + sum(ranks[name] * sum(checkpoint.shapes[f"{name}.weight"]) for name in names)
        found.append(Level(name=title, ranks=dict(ranks), parameters=count, bytes=end))
    text = {"model_type": MODEL_TYPE, "base": checkpoint.config.to_dict(), "levels": [_entry(x) for x in found]}
    (folder / "config.json").write_text(json.dumps(text, indent=1, default=str))
    return found


def members(folder: Path | str) -> list[Level]:
    """The members, smallest first. Raises WeightsError where there is no such model."""
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text())
        levels = [Level(**entry) for entry in config["levels"]]
    except FileNotFoundError:
        raise WeightsError(f"there is no {path}; write the model with `decompose`.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} describes no nested model ({error!r}); write it with `decompose`.") from error
    file = Path(folder) / SINGLE
    size = file.stat().st_size if file.is_file() else 0
    return [replace(level, available=level.bytes <= size) for level in levels]


def load(folder: Path | str, level: str | None = None, dtype: torch.dtype | None = None) -> Any:
    """A model of the base's transformers class with `LowRank` linears; it generates like any other.

    Reads the prefix of the file that ``level`` (None: the largest) needs, and nothing behind it. ``dtype`` None: that
    of the stored embeddings. Raises WeightsError when the file ends before the member does, InputError for a level
    that does not exist.
    """
    return open_level(folder, level, dtype)[1]


def open_level(folder: Path | str, level: str | None = None, dtype: torch.dtype | None = None) -> tuple[Reader, Any]:
    """As `load`, with the reader, whose ``bytes_read`` says what the member cost."""
    folder = Path(folder)
    levels = members(folder)
    chosen = _chosen(levels, level)
    reader = Reader(folder / SINGLE)
    base = _base_config(folder)
    prefix = "model.language_model." if base.model_type in VISION else "model."
    dtype = dtype or reader.dtype(f"{prefix}embed_tokens.weight")
    state = {name: reader.read(name, dtype=_floating(reader, name, dtype)) for name in _shared(reader)}
    upto = levels.index(chosen)
    for name, rank in chosen.ranks.items():
        for factor in ("u", "v"):
            state[f"{name}.{factor}"] = _gather(reader, name, factor, upto, rank, dtype)
    return reader, _assemble(folder, base, state, f"{prefix}layers.", dtype)


def _assemble(folder: Path, base: Any, state: dict[str, Tensor], layers: str, dtype: torch.dtype) -> Any:
    from transformers import GenerationConfig

    text = text_config(base)
    depth, text.num_hidden_layers = text.num_hidden_layers, 0  # its blocks come below, without dense linears
    model = new_model(base)
    own = parts(model)
    own.config.num_hidden_layers = depth
    with torch.device("meta"):
        blocks = [new_block(own.config, i) for i in range(depth)]
    for i, block in enumerate(blocks):
        for name in LINEARS:
            full = f"{layers}{i}.{name}"
            bias = state.get(f"{full}.bias")
            set_linear(block, name, LowRank(state[f"{full}.u"], state[f"{full}.v"], bias))
    own.text.layers.extend(blocks)
    found = model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    tied = own.head.weight is own.text.embed_tokens.weight
    missing = [name for name in found.missing_keys if not (tied and name == "lm_head.weight")]
    if missing or found.unexpected_keys:
        odd = [*missing, *found.unexpected_keys]
        raise WeightsError(f"{folder} and its config disagree about {odd[0]!r} (and {len(odd) - 1} more tensors).")
    model.config.dtype = dtype
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.eval()


def check_levels(levels: Sequence[tuple[str, Mapping[str, int]]]) -> None:
    """Raises InputError for no level, names that repeat or ranks that fall from one level to the next."""
    if not levels or len({name for name, _ in levels}) < len(levels):
        raise InputError(f"levels {[name for name, _ in levels]} must be at least one, each with its own name.")
    for (small, a), (large, b) in pairwise(levels):
        fallen = [name for name in a if a[name] > b[name]]
        if fallen:
            raise InputError(
                f"{fallen[0]!r} has rank {a[fallen[0]]} in level {small!r} and {b[fallen[0]]} in {large!r}; "
                "give the levels in ascending order."
            )


def _increment(
    k: int, name: str, part: slice, shape: tuple[int, ...], rows: Rows, dtype: torch.dtype
) -> list[tuple[str, Lazy]]:
    count = part.stop - part.start
    return [
        (f"levels.{k}.{name}.{x}", Lazy(shape=(count, width), dtype=dtype, load=partial(rows, name, x, part)))
        for x, width in zip("uv", shape, strict=True)
    ]


def _ends(reader: Reader, count: int) -> list[int]:
    """Where each level ends; a level that adds nothing ends with the one before."""
    ends = [0] * (count + 1)
    for name in reader.names:
        k = int(name.split(".")[1]) + 1 if name.startswith("levels.") else 0
        ends[k] = max(ends[k], reader.end(name))
    for k in range(count):
        ends[k + 1] = max(ends[k], ends[k + 1])
    return ends[1:]


def _entry(level: Level) -> dict[str, Any]:
    return {key: value for key, value in asdict(level).items() if key != "available"}


def _chosen(levels: list[Level], level: str | None) -> Level:
    named = {x.name: x for x in levels}
    if level is not None and level not in named:
        raise InputError(f"there is no member {level!r}; {suggest(level, list(named))}")
    chosen = levels[-1] if level is None else named[level]
    if not chosen.available:
        there = [x.name for x in levels if x.available]
        remedy = f"the largest member that is here is {there[-1]!r}" if there else "download the file again"
        raise WeightsError(
            f"member {chosen.name!r} needs the first {chosen.bytes:,} bytes of {SINGLE}, which is cut short; {remedy}."
        )
    return chosen


def _base_config(folder: Path) -> Any:
    from transformers import AutoConfig

    base = json.loads((folder / "config.json").read_text())["base"]
    return type(AutoConfig.for_model(base["model_type"])).from_dict(base)


def _shared(reader: Reader) -> list[str]:
    return [name for name in reader.names if not name.startswith("levels.")]


def _floating(reader: Reader, name: str, dtype: torch.dtype) -> torch.dtype | None:
    return dtype if reader.dtype(name).is_floating_point else None


def _gather(reader: Reader, name: str, factor: str, upto: int, rank: int, dtype: torch.dtype) -> Tensor:
    """Rows 0..rank of a factor, from the increments of the levels up to ``upto``."""
    stored = [f"levels.{k}.{name}.{factor}" for k in range(upto + 1)]
    there = [part for part in stored if part in reader]
    whole_HX = torch.empty(rank, reader.shape(there[0])[1] if there else 0, dtype=dtype)
    at = 0
    for part in there:
        height = reader.shape(part)[0]
        if at + height > rank:
            break
        whole_HX[at : at + height] = reader.read(part, dtype=dtype)
        at += height
    if at != rank:
        raise WeightsError(f"{reader.path} holds {at} components of {name!r}, its config says {rank}.")
    return whole_HX
