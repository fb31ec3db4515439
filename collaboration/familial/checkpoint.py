"""The weights of a transformers model, tensor by tensor: from a folder of safetensors files or from memory.

Names are those of the model in memory (``model.layers.0...``), whatever the files call them, and every tensor the
architecture needs is known to be there, in its shape, before the first one is read. Knows nothing of factors.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.familial.kinds import VISION, parts, text_config
from aiflow.collaboration.familial.store import Reader
from aiflow.errors import WeightsError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

_RENAMED = (  # LLaVA's files keep the names of its first version
    (re.compile(r"^language_model\.lm_head\."), "lm_head."),
    (re.compile(r"^language_model\.model\."), "model.language_model."),
    (re.compile(r"^(vision_tower|multi_modal_projector)\."), r"model.\1."),
    (re.compile(r"^model\.vision_tower\.vision_model\."), "model.vision_tower."),
)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """``names``: every stored tensor once (a tied LM head is not there); ``layers``: what block names begin with.

    ``read`` gives one tensor in its own dtype; from a folder nothing else is in memory.
    """

    config: Any
    names: tuple[str, ...]
    layers: str
    read: Callable[[str], Tensor]
    shapes: dict[str, tuple[int, ...]] = field(repr=False)
    dtypes: dict[str, torch.dtype] = field(repr=False)
    folder: Path | None = None

    @property
    def text(self) -> Any:
        """The decoder's config."""
        return text_config(self.config)

    @property
    def embedding(self) -> str:
        """Name of the input embedding."""
        return self.layers.removesuffix("layers.") + "embed_tokens.weight"

    def block(self, index: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """The state dict of a decoder block; copies, so that it may be changed."""
        prefix = f"{self.layers}{index}."
        found = {name: self.read(name) for name in self.names if name.startswith(prefix)}
        return {name.removeprefix(prefix): value.to(dtype, copy=True) for name, value in found.items()}


def open_checkpoint(source: Any) -> Checkpoint:
    """Opens a folder (config.json and safetensors, single or sharded) or a model in memory.

    Raises UnsupportedModelError for an architecture that is not known here, WeightsError for files that are missing,
    damaged or of another model.
    """
    return _folder(Path(source)) if isinstance(source, str | Path) else _memory(source)


def new_model(config: Any) -> Any:
    """The model class of a config, on torch's current default device, with whatever values memory holds."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.initialization import no_init_weights

    auto = AutoModelForImageTextToText if config.model_type in VISION else AutoModelForCausalLM
    with no_init_weights():
        model = auto.from_config(config)
    model.tie_weights()
    return model


def _memory(model: Any) -> Checkpoint:
    tied = parts(model).head.weight is parts(model).text.embed_tokens.weight
    state = {name: value for name, value in model.state_dict().items() if not (tied and name == "lm_head.weight")}
    return Checkpoint(
        config=model.config,
        names=tuple(state),
        layers=_layers(model.config),
        read=state.__getitem__,
        shapes={name: tuple(value.shape) for name, value in state.items()},
        dtypes={name: value.dtype for name, value in state.items()},
    )


def _folder(folder: Path) -> Checkpoint:
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} holds no config.json; give the folder of a transformers model.")
    config = AutoConfig.from_pretrained(folder)
    text_config(config)
    where = _readers(folder)
    expected = _expected(config)
    files: dict[str, tuple[Reader, str]] = {}
    for stored, reader in where.items():
        name = _own_name(stored, expected)
        if name is not None:
            files[name] = (reader, stored)
    missing = [name for name in expected if name not in files]
    if missing:
        raise WeightsError(f"{folder} lacks {len(missing)} tensors, such as {missing[0]!r}; download it again.")
    shapes = {name: files[name][0].shape(files[name][1]) for name in expected}
    for name, shape in shapes.items():
        if shape != expected[name]:
            raise WeightsError(f"{name!r} in {folder} is {shape}, its config says {expected[name]}; they must agree.")
    return Checkpoint(
        config=config,
        names=tuple(expected),
        layers=_layers(config),
        read=lambda name: files[name][0].read(files[name][1]),
        shapes=shapes,
        dtypes={name: files[name][0].dtype(files[name][1]) for name in expected},
        folder=folder,
    )


def _layers(config: Any) -> str:
    return "model.language_model.layers." if config.model_type in VISION else "model.layers."


def _readers(folder: Path) -> dict[str, Reader]:
    index = folder / INDEX
    if not index.is_file():
        if not (folder / SINGLE).is_file():
            raise WeightsError(f"{folder} holds neither {SINGLE} nor {INDEX}; save it with safetensors.")
        reader = Reader(folder / SINGLE)
        return dict.fromkeys(reader.names, reader)
    try:
        places: dict[str, str] = json.loads(index.read_text())["weight_map"]
        shards = {file: Reader(folder / file) for file in sorted(set(places.values()))}
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise WeightsError(f"{index} cannot be read ({error!r}); download it again.") from error
    return {name: shards[file] for name, file in places.items()}


def _expected(config: Any) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = new_model(config)
    own = parts(model)
    tied = own.head.weight is own.text.embed_tokens.weight
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    return {name: shape for name, shape in shapes.items() if not (tied and name == "lm_head.weight")}


def _own_name(stored: str, expected: dict[str, tuple[int, ...]]) -> str | None:
    """The model's name of a stored tensor; None for what the model computes itself (inv_freq, a tied head)."""
    name = stored
    for pattern, new in _RENAMED:
        if name in expected:
            return name
        name = pattern.sub(new, name)
    return name if name in expected else None
