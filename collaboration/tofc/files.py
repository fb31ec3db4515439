"""A compressor on disk: config.json and one safetensors file with the codec, the projector and the LoRA adapters.

The vision language model itself is not in it; adapters are folded into that model's weights when they are read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from aiflow.collaboration.familial.store import Reader, write
from aiflow.collaboration.tofc.codec import CodecConfig
from aiflow.errors import InputError, WeightsError

if TYPE_CHECKING:
    from aiflow.collaboration.tofc.model import Compressor

KIND = "aiflow_tofc"
FOLDER = "tofc"
"""Where a model's folder keeps its compressor."""
WEIGHTS = "model.safetensors"
DOWN, OUT = ".lora_down", ".lora_out"
Pair = tuple[Tensor, Tensor]
"""An adapter's matrices (rank, in) and (rank, out), their scaling in the second: W + out.T @ down."""


class Description(BaseModel):
    """config.json of a compressor; ``backbone``: the kind of model that it was trained with."""

    model_config = ConfigDict(extra="forbid")
    model_type: str = KIND
    backbone: str
    codec: CodecConfig


def adapters(model: Any) -> dict[str, Pair]:
    """By path, what the LoRA layers of a model have learned."""
    from peft.tuners.lora import LoraLayer

    found = {}
    for path, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            down, out = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            found[path] = (down.detach(), (layer.scaling["default"] * out).T.detach().contiguous())
    return found


def learned(made: "Compressor") -> dict[str, Pair]:
    """By path, all that was learned in adapters: what is in the weights already, and what was trained after it."""
    found = dict(made.folded)
    for path, (down, out) in adapters(made.backbone).items():
        before = found.get(path, (down[:0], out[:0]))
        found[path] = (torch.cat([before[0].to(down), down]), torch.cat([before[1].to(out), out]))
    return found


@torch.no_grad()
def fold(model: Any, pairs: dict[str, Pair]) -> None:
    """Adds adapters to a model's weights. Raises WeightsError for one that has no place there, before any is added."""
    places = []
    for path, (down, out) in pairs.items():
        try:
            weight = model.get_submodule(path).weight
        except AttributeError:
            weight = None
        if weight is None or weight.shape != (out.shape[1], down.shape[1]):
            raise WeightsError(f"an adapter for {path!r} does not fit this model; read the one it was trained with.")
        places.append((weight, down, out))
    for weight, down, out in places:
        weight.add_((out.float().T @ down.float()).to(weight))


def save(made: "Compressor", folder: Path | str, *, storage: Any = "bfloat16") -> None:
    """Writes a compressor; ``storage`` as in `familial.files.save`.

    The entropy models stay in bfloat16 or more. Raises InputError for an unknown storage.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / WEIGHTS, _tensors(made), storage=storage, metadata={"format": "pt", "kind": KIND})
    kept = Description(backbone=made.backbone.config.model_type, codec=made.codec.config)
    (folder / "config.json").write_text(kept.model_dump_json(indent=1) + "\n")


def _tensors(made: "Compressor") -> Iterator[tuple[str, Tensor]]:
    yield from ((f"codec.{name}", value) for name, value in made.codec.state_dict().items())
    yield from ((f"projector.{name}", value) for name, value in made.parts.projector.state_dict().items())
    for path, (down, out) in learned(made).items():
        yield path + DOWN, down
        yield path + OUT, out


def load(folder: Path | str, backbone: Any) -> "Compressor":
    """Reads the compressor of a model, which becomes part of it and is changed.

    Args:
        folder: of `save`.
        backbone: the model, or a half (`adapters.halves`), of which the adapters are read that it has a part for.

    Raises:
        WeightsError: if there is none, or it was made for another model.
        UnsupportedModelError: for a model without an adapter class.
    """
    from aiflow.collaboration.tofc.model import Compressor

    kept, reader = opened(folder, backbone)
    try:
        made = Compressor(backbone, kept.codec)
        made.codec.load_state_dict(_part(reader, "codec."))
        made.parts.projector.load_state_dict(_part(reader, "projector."))
    except (InputError, RuntimeError) as error:  # widths or shapes that do not fit
        raise WeightsError(f"the feature codec in {folder} was made for another model; train one for this.") from error
    made.folded = {path: (reader.read(path + DOWN), reader.read(path + OUT)) for path in adapted(reader, backbone)}
    fold(backbone, made.folded)
    return made.requires_grad_(False).eval()


def opened(folder: Path | str, backbone: Any) -> tuple[Description, Reader]:
    """What a folder says of itself, and its tensors. Raises WeightsError if it has no compressor of such a model."""
    folder = Path(folder)
    try:
        kept = Description.model_validate_json((folder / "config.json").read_text())
    except (FileNotFoundError, ValidationError):
        raise WeightsError(f"there is no feature codec in {folder}; train one with `aiflow tofc train`.") from None
    if kept.model_type != KIND or kept.backbone != backbone.config.model_type:
        raise WeightsError(f"{folder} compresses for a {kept.backbone!r} model, not {backbone.config.model_type!r}.")
    return kept, Reader(folder / WEIGHTS)


def adapted(reader: Reader, backbone: Any) -> list[str]:
    """Paths of the adapters, without those of a part that a half of a model does not have."""
    paths = [name.removesuffix(DOWN) for name in reader.names if name.endswith(DOWN)]
    children = (
        (f"{path}.{name}.", child) for path, m in backbone.named_modules() for name, child in m._modules.items()
    )
    gone = tuple(path.lstrip(".") for path, child in children if child is None)
    return [path for path in paths if not path.startswith(gone)]


def _part(reader: Reader, prefix: str) -> dict[str, Tensor]:
    names = [name for name in reader.names if name.startswith(prefix)]
    return {name.removeprefix(prefix): reader.read(name, dtype=torch.float32) for name in names}
