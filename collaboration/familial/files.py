"""A family on disk: config.json and one safetensors file whose front part is enough for a smaller member.

Order: what all members share (embeddings, vision parts, norm, head), then block 0, the branch at exit 1, block 1, the
branch at exit 2, and so on. A member is read from the front part of the file alone, and of its branch only the first
components; a file that was cut short still gives the members that fit into it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from aiflow.collaboration.familial.branch import Branch
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.kinds import LINEARS, new_block, parts, set_linear, shortened, text_config
from aiflow.collaboration.familial.linear import LowRank, rank_of
from aiflow.collaboration.familial.store import Reader, write
from aiflow.errors import InputError, UnsupportedModelError, WeightsError

KIND = "aiflow_family"
WEIGHTS = "model.safetensors"
CLASSES = (
    "LlamaForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "MistralForCausalLM",
    "LlavaForConditionalGeneration",
)


class Shape(BaseModel):
    """What a branch consists of; its ranks are in the shapes of its tensors."""

    model_config = ConfigDict(extra="forbid")
    blocks: int
    low_rank: bool
    norm: bool = False
    head: bool = False


class Description(BaseModel):
    """config.json of a family."""

    model_config = ConfigDict(extra="forbid")
    model_type: str
    architecture: str
    dtype: str
    backbone: dict[str, Any]
    branches: dict[int, Shape]


def save(family: Family, folder: Path | str, *, storage: Any = "bfloat16") -> None:
    """Writes a family.

    Args:
        family: a whole one.
        folder: made if needed.
        storage: "float32", "bfloat16", or "int8" (matrices as rows of int8 with a scale each: half of bfloat16).

    Raises:
        InputError: for an unknown storage, or a family of which only a member was loaded.
    """
    if not family.whole:
        raise InputError("only a part of this family was loaded; save the whole one.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kept = Description(
        model_type=KIND,
        architecture=type(family.backbone).__name__,
        dtype="float32" if storage == "float32" else "bfloat16",
        backbone=_nameless(family.backbone.config.to_dict()),
        branches={int(e): _shape(b) for e, b in family.branches.items()},
    )
    write(folder / WEIGHTS, _in_order(family), storage=storage, metadata={"format": "pt", "kind": KIND})
    (folder / "config.json").write_text(kept.model_dump_json(indent=1) + "\n")


def load(folder: Path | str, *, member: Member | None = None, dtype: Any = None) -> Family:
    """Reads a family, or only what one member needs.

    Args:
        folder: of `save`.
        member: its exit and share; the result has that member alone.
        dtype: of the weights; by default as stored (bfloat16 for int8).

    Raises:
        WeightsError: for a folder without a family, or a file that ends before the member does.
        InputError: for a member that is not in the family.
    """
    kept, reader = describe(folder), Reader(Path(folder) / WEIGHTS)
    wanted = getattr(torch, str(dtype or kept.dtype).removeprefix("torch."))
    config = _config(kept)
    depth = text_config(config).num_hidden_layers
    chosen = member or Member(exit=depth)
    _check(kept, chosen, depth)
    backbone = _backbone(kept, shortened(config, chosen.exit), reader, wanted)
    here = kept.branches if member is None else {e: s for e, s in kept.branches.items() if e == member.exit}
    text = parts(backbone).text
    branches = {e: _branch(e, s, text.config, reader, wanted, chosen.keep) for e, s in here.items() if chosen.keep != 0}
    return Family(backbone, branches, whole=chosen.exit == depth).eval()


def describe(folder: Path | str) -> Description:
    """Reads a family's config.json. Raises WeightsError."""
    path = Path(folder) / "config.json"
    try:
        kept = Description.model_validate_json(path.read_text())
    except FileNotFoundError:
        raise WeightsError(f"there is no family in {folder}: config.json is missing.") from None
    except ValidationError as error:
        raise WeightsError(
            f"{path} does not describe a family: {error.errors()[0]['msg']}; convert it first."
        ) from None
    if kept.model_type != KIND or kept.architecture not in CLASSES:
        raise UnsupportedModelError(f"{path} describes a {kept.architecture!r}; use one of {', '.join(CLASSES)}.")
    return kept


def _nameless(config: dict[str, Any]) -> dict[str, Any]:
    """Without the folders that the parts were once loaded from."""
    inner = {key: _nameless(value) if isinstance(value, dict) else value for key, value in config.items()}
    return {key: value for key, value in inner.items() if key != "_name_or_path"}


def _shape(branch: Any) -> Shape:
    return Shape(
        blocks=len(branch.blocks),
        low_rank=branch.low_rank,
        norm=branch.norm is not None,
        head=branch.head is not None,
    )


def _in_order(family: Family) -> Iterator[tuple[str, Tensor]]:
    own = family.parts
    blocks = [(f"{name}.", block) for name, block in _block_names(family.backbone, own.text)]
    tied = own.head.weight is own.text.embed_tokens.weight
    for name, value in family.backbone.state_dict().items():
        if not any(name.startswith(start) for start, _ in blocks) and not (tied and name == "lm_head.weight"):
            yield f"backbone.{name}", value
    for index, (start, block) in enumerate(blocks):
        for name, value in block.state_dict().items():
            yield f"backbone.{start}{name}", value
        if str(index + 1) in family.branches:
            for name, value in family.branches[str(index + 1)].state_dict().items():
                yield f"branches.{index + 1}.{name}", value


def _block_names(backbone: Any, text: Any) -> list[tuple[str, Any]]:
    layers = list(text.layers)
    names = {id(module): name for name, module in backbone.named_modules()}
    return [(names[id(layer)], layer) for layer in layers]


def _config(kept: Description) -> Any:
    from transformers import AutoConfig

    fields = dict(kept.backbone)
    return AutoConfig.for_model(fields.pop("model_type"), **fields)


def _check(kept: Description, member: Member, depth: int) -> None:
    there = (*sorted(kept.branches), depth)
    if not 0 <= member.exit <= depth or (member.exit not in there and member.keep != 0):
        raise InputError(f"exit {member.exit} is not in this family; its exits are {', '.join(map(str, there))}.")


def _backbone(kept: Description, config: Any, reader: Reader, dtype: torch.dtype) -> Any:
    import transformers
    from transformers.initialization import no_init_weights

    with no_init_weights():
        model: Any = getattr(transformers, kept.architecture)(config).to(dtype)
    weights = {}
    for name in model.state_dict():
        if f"backbone.{name}" in reader:
            weights[name] = reader.read(f"backbone.{name}", dtype=dtype)
        elif name != "lm_head.weight":
            raise WeightsError(f"the family's file has no tensor {name!r}; it is damaged, fetch it again.")
    model.load_state_dict(weights, assign=True, strict=False)
    model.tie_weights()
    return model


def _branch(exit_: int, shape: Shape, config: Any, reader: Reader, dtype: torch.dtype, keep: float | None) -> Branch:
    def read(name: str, rows: int | None = None) -> Tensor:
        return reader.read(f"branches.{exit_}.{name}", rows, dtype)

    blocks = []
    for i in range(shape.blocks):
        with torch.device("meta"):
            block = new_block(shortened(config, exit_ + shape.blocks), exit_ + i)
        block.self_attn.config = config  # the backbone's, so that switching the attention kernel reaches every block
        if shape.low_rank:
            for linear in LINEARS:
                set_linear(block, linear, _factors(reader, read, exit_, f"blocks.{i}.{linear}", keep))
        for name, parameter in list(block.named_parameters()):
            if parameter.is_meta:
                parent, _, leaf = name.rpartition(".")
                block.get_submodule(parent)._parameters[leaf] = nn.Parameter(read(f"blocks.{i}.{name}"))
        blocks.append(block)
    norm = _norm(config, read("norm.weight")) if shape.norm else None
    return Branch(blocks, norm=norm, head=_head(read("head.weight")) if shape.head else None)


def _factors(reader: Reader, read: Any, exit_: int, name: str, keep: float | None) -> LowRank:
    stored, m = reader.shape(f"branches.{exit_}.{name}.u")
    n = reader.shape(f"branches.{exit_}.{name}.v")[1]
    rank = stored if keep is None else rank_of(m, n, keep)
    if rank > stored:
        raise InputError(f"keep={keep} is not usable; the branch at exit {exit_} stores {stored} components of {name}.")
    bias = read(f"{name}.bias") if f"branches.{exit_}.{name}.bias" in reader else None
    return LowRank(read(f"{name}.u", rank), read(f"{name}.v", rank), bias)


def _norm(config: Any, weight: Tensor) -> Any:
    with torch.device("meta"):
        norm = type(new_block(config, 0).input_layernorm)(config.hidden_size, eps=config.rms_norm_eps)
    norm.weight = nn.Parameter(weight)
    return norm


def _head(weight: Tensor) -> nn.Linear:
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    head.weight = nn.Parameter(weight)
    return head
