"""Loads the families that the authors of AI Flow released: AI-Flow-Ruyi (Qwen2.5) and AI-Flow-Ruyi2 (Qwen3).

Their folders hold, beside the usual decoder (``model.layers``, ``model.embed_tokens``), one whole decoder layer for
each exit point but the last (``model.eelayers``), a final norm for every exit point (``model.norms``), and one LM head
or one per exit point (``lm_head``). Their exit point p is an index from 0: blocks 0..p-1, then the exit's own layer. So
it is our exit p, with a dense branch of one block, its own norm and, if not shared, its own head; the last exit
point, L-1, is the full model. Their ``default_early_exit_point`` has no counterpart: the exit is an argument of a call.
Beyond the window length their code masks by ``sliding_window`` even where ``use_sliding_window`` is false; this one
follows ``use_sliding_window``, as Qwen's does. Knows nothing of training and needs none of their code.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aiflow.collaboration.familial.branch import Branch
from aiflow.collaboration.familial.checkpoint import INDEX, SINGLE
from aiflow.collaboration.familial.family import Family
from aiflow.collaboration.familial.kinds import new_block
from aiflow.collaboration.familial.store import Reader
from aiflow.errors import InputError, UnsupportedModelError, WeightsError

BASES = {"ruyi_qwen2": "qwen2", "ruyi_qwen3": "qwen3"}
OWN_FIELDS = {"model_type", "architectures", "auto_map", "torch_dtype", "dtype"}
RUYI_FIELDS = {"early_exit_points", "shared_heads", "default_early_exit_point"}
NEEDED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a released config says. ``points``: exit points, from 0, as in the file; ``config``: of the base model."""

    config: Any
    points: tuple[int, ...]
    shared: bool

    @property
    def last(self) -> int:
        """Index of the full model's norm and head."""
        return len(self.points) - 1

    @property
    def tied(self) -> bool:
        """Whether the LM head is the embedding. Heads of their own are never tied in the released code."""
        return self.shared and bool(self.config.tie_word_embeddings)

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "Layout":
        """Reads the fields of a config.json.

        Raises:
            UnsupportedModelError: for another ``model_type``.
            WeightsError: if a field is missing.
            InputError: if the exit points are not distinct block indexes from 1 that end with L-1.
        """
        from transformers import AutoConfig

        kind = fields.get("model_type")
        if kind not in BASES:
            raise UnsupportedModelError(
                f"a {kind!r} config is not of a released family; use one of {', '.join(BASES)}."
            )
        absent = [name for name in (*NEEDED, "early_exit_points") if name not in fields]
        if not {"rope_theta", "rope_parameters"} & set(fields):
            absent.append("rope_theta")
        if absent:
            raise WeightsError(f"config.json lacks {', '.join(absent)}; download it again.")
        points = _points(fields["early_exit_points"], fields["num_hidden_layers"])
        rest = {name: value for name, value in fields.items() if name not in OWN_FIELDS | RUYI_FIELDS}
        shared = bool(fields.get("shared_heads", False))
        rest["tie_word_embeddings"] = shared and bool(fields.get("tie_word_embeddings", False))
        return cls(config=AutoConfig.for_model(BASES[kind], **rest), points=points, shared=shared)


def convert(folder: str | Path, *, dtype: torch.dtype | None = None) -> Family:
    """The family in a released folder; `Family.save_pretrained` then writes it in aiflow's own format.

    Every tensor of the files is used exactly once and the weights are held once.

    Args:
        folder: config.json and safetensors, in one file or in shards with an index.
        dtype: of the loaded weights; None keeps the stored one.

    Raises:
        UnsupportedModelError: for another ``model_type``.
        WeightsError: for files or tensors that are missing, left over, stored twice, damaged or of another shape.
        InputError: if the exit points are not usable.
    """
    folder = Path(folder)
    layout = Layout.of(_json(folder / "config.json"))
    family = _empty(layout)
    tensors = _Tensors(folder, dtype)
    backbone, k = family.backbone, layout.last
    tensors.check(layout, family)
    _fill(backbone.model.embed_tokens, tensors, "model.embed_tokens")
    _fill(backbone.model.layers, tensors, "model.layers")
    _fill(backbone.model.norm, tensors, f"model.norms.{k}")
    if layout.tied:
        tensors.same("lm_head.weight", backbone.model.embed_tokens.weight)
        backbone.lm_head.weight = backbone.model.embed_tokens.weight
    else:
        _fill(backbone.lm_head, tensors, _head(layout, k))
    for k, point in enumerate(layout.points[:-1]):
        branch: Any = family.branches[str(point)]
        _fill(branch.blocks[0], tensors, f"model.eelayers.{k}")
        _fill(branch.norm, tensors, f"model.norms.{k}")
        if branch.head is not None:
            _fill(branch.head, tensors, _head(layout, k))
    assert not tensors.places
    # The rotary table is computed, not stored.
    backbone.model.rotary_emb = type(backbone.model.rotary_emb)(config=backbone.model.config)
    if (folder / "generation_config.json").is_file():
        from transformers import GenerationConfig

        backbone.generation_config = GenerationConfig.from_pretrained(folder)
    return family.eval()


class _Tensors:
    """The stored tensors by name; each can be taken once."""

    def __init__(self, folder: Path, dtype: torch.dtype | None) -> None:
        self.folder, self.dtype = folder, dtype
        files = _shards(folder)
        counted = Counter(name for reader in files for name in reader.names)
        twice = [name for name, count in counted.items() if count > 1]
        if twice:
            raise WeightsError(f"{folder} stores {_some(twice)} more than once; download it again.")
        self.places = {name: reader for reader in files for name in reader.names}

    def take(self, name: str) -> Tensor:
        """One tensor, for the last time."""
        return self.places.pop(name).read(name, dtype=self.dtype)

    def same(self, name: str, weight: Tensor) -> None:
        """Takes a tensor that may be stored though it is tied. Raises WeightsError if it is not ``weight``."""
        if name in self.places and not torch.equal(self.take(name), weight):
            raise WeightsError(
                f"{name!r} in {self.folder} differs from the embedding that it is tied to; "
                "set tie_word_embeddings to false in config.json to use both."
            )

    def check(self, layout: Layout, family: Family) -> None:
        """Raises WeightsError if a tensor is missing, left over or of another shape."""
        shapes = _expected(layout, family)
        optional = {"lm_head.weight"} if layout.tied else set()
        missing = [name for name in shapes if name not in self.places and name not in optional]
        if missing:
            raise WeightsError(f"{self.folder} lacks {_some(missing)}; download it again.")
        extra = [name for name in self.places if name not in shapes]
        if extra:
            raise WeightsError(
                f"{self.folder} holds {_some(extra)}, which its config has no place for; "
                "check early_exit_points, shared_heads and num_hidden_layers in config.json."
            )
        for name, reader in self.places.items():
            if tuple(reader.shape(name)) != shapes[name]:
                there = tuple(reader.shape(name))
                raise WeightsError(f"{name!r} in {self.folder} is {there}, its config says {shapes[name]}.")


def _points(given: Any, depth: int) -> tuple[int, ...]:
    if not isinstance(given, list) or not all(isinstance(p, int) for p in given) or len(set(given)) != len(given):
        raise InputError(f"early_exit_points={given!r} is not usable; give a list of distinct block indexes.")
    outside = [p for p in given if not 1 <= p < depth]
    if outside:
        raise InputError(f"early exit points {outside} are not usable; a model of {depth} blocks has 1 to {depth - 1}.")
    if not given or given[-1] != depth - 1:
        raise InputError(f"early_exit_points={given} does not end with the full model; end it with {depth - 1}.")
    return tuple(given)


def _empty(layout: Layout) -> Family:
    """The family without memory for its weights."""
    from transformers import AutoModelForCausalLM

    config = layout.config
    with torch.device("meta"):
        backbone = AutoModelForCausalLM.from_config(config)
        branches = {}
        for point in layout.points[:-1]:
            norm = type(backbone.model.norm)(config.hidden_size, eps=config.rms_norm_eps)
            head = None if layout.shared else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
            branches[point] = Branch([new_block(backbone.config, point)], norm=norm, head=head)
    return Family(backbone, branches)


def _expected(layout: Layout, family: Family) -> dict[str, tuple[int, ...]]:
    """Shape by stored name."""
    text = family.backbone.model
    modules: dict[str, Any] = {"model.embed_tokens": text.embed_tokens, "model.layers": text.layers}
    for k, point in enumerate(layout.points):
        modules[f"model.norms.{k}"] = text.norm
        modules[_head(layout, k)] = family.backbone.lm_head
        if k < layout.last:
            branch: Any = family.branches[str(point)]
            modules[f"model.eelayers.{k}"] = branch.blocks[0]
    return {
        f"{prefix}.{name}": tuple(value.shape)
        for prefix, module in modules.items()
        for name, value in module.state_dict().items()
    }


def _head(layout: Layout, k: int) -> str:
    return "lm_head" if layout.shared else f"lm_head.{k}"


def _fill(module: Any, tensors: _Tensors, prefix: str) -> None:
    """Gives a module without memory its stored tensors, which become its parameters: there is no second copy."""
    state = {name: tensors.take(f"{prefix}.{name}") for name in module.state_dict()}
    module.load_state_dict(state, assign=True)


def _shards(folder: Path) -> list[Reader]:
    if not (folder / INDEX).is_file():
        if not (folder / SINGLE).is_file():
            raise WeightsError(f"{folder} holds neither {SINGLE} nor {INDEX}; give the folder of a released family.")
        return [Reader(folder / SINGLE)]
    places = _json(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise WeightsError(f"{folder / INDEX} has no weight_map; download it again.")
    return [Reader(folder / Path(file).name) for file in sorted(set(places.values()))]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); give the folder of a released family.") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{path} is no JSON object; download it again.")
    return found


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more tensors" if len(names) > 3 else ""
    return ", ".join(map(repr, sorted(names)[:3])) + more
