"""The transformers models that can become families, and where their parts are. Knows no branch and no rank.

Supported: decoders of the Llama, Qwen2, Qwen3 and Mistral kind, alone or as the language half of a LLaVA-type model.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from aiflow.errors import UnsupportedModelError

TEXT = ("llama", "qwen2", "qwen3", "mistral")
VISION = ("llava",)
LINEARS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
SHARED_INPUT = (LINEARS[:3], LINEARS[3:4], LINEARS[4:6], LINEARS[6:])
"""Linears of a block that read the same input: one Gram matrix serves each group."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """``text``: embed_tokens, layers, norm, rotary_emb; ``head``: the LM head; ``config``: of the text model."""

    text: Any
    head: Any
    config: Any
    vision: Any = None
    projector: Any = None


def text_config(config: Any) -> Any:
    """The decoder's config. Raises UnsupportedModelError for an architecture that is not known here."""
    text = config.get_text_config(decoder=True)
    outer_fits = config.model_type in TEXT or config.model_type in VISION
    if not outer_fits or text.model_type not in TEXT:
        inside = "" if text is config else f" with a {text.model_type!r} decoder"
        raise UnsupportedModelError(
            f"a {config.model_type!r} model{inside} cannot be decomposed or branched; "
            f"use one of {', '.join(TEXT)}, or a LLaVA-type model over one of them."
        )
    return text


def parts(model: Any) -> Parts:
    """The parts of a causal or LLaVA-type model. Raises UnsupportedModelError."""
    config = text_config(model.config)
    if model.config.model_type in VISION:
        inner = model.model
        return Parts(
            text=inner.language_model,
            head=model.lm_head,
            config=config,
            vision=inner.vision_tower,
            projector=inner.multi_modal_projector,
        )
    return Parts(text=model.model, head=model.lm_head, config=config)


def new_block(config: Any, index: int) -> Any:
    """A decoder layer of the config's kind on torch's current default device, with fresh weights."""
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer
    from transformers.models.mistral.modeling_mistral import MistralDecoderLayer
    from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer
    from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer

    layers = {
        "llama": LlamaDecoderLayer,
        "qwen2": Qwen2DecoderLayer,
        "qwen3": Qwen3DecoderLayer,
        "mistral": MistralDecoderLayer,
    }
    return layers[text_config(config).model_type](config, index)


def get_linear(block: Any, name: str) -> Any:
    """The linear ``name`` (one of LINEARS) of a decoder layer."""
    return block.get_submodule(name)


def set_linear(block: Any, name: str, linear: nn.Module) -> None:
    """Replaces a linear of a decoder layer."""
    parent, leaf = name.split(".")
    setattr(block.get_submodule(parent), leaf, linear)


def shallow(module: Any) -> Any:
    """A copy that shares parameters, buffers and children, and whose attributes and children can be replaced."""
    new = copy.copy(module)
    for table in ("_parameters", "_buffers", "_modules"):
        setattr(new, table, dict(getattr(module, table)))
    return new


def with_linears(block: Any, linears: Mapping[str, nn.Module], index: int) -> Any:
    """A view of a decoder layer with other linears, and its place ``index`` in the key-value cache."""
    new = shallow(block)
    for name in ("self_attn", "mlp"):
        new._modules[name] = shallow(block._modules[name])
    for name, linear in linears.items():
        parent, leaf = name.split(".")
        new._modules[parent]._modules[leaf] = linear
    new.self_attn.layer_idx = index
    return new


def shortened(config: Any, depth: int) -> Any:
    """A copy of a model's config whose decoder has ``depth`` blocks."""
    new = copy.deepcopy(config)
    text = new.get_text_config(decoder=True)
    if getattr(text, "layer_types", None):
        kinds = text.layer_types
        text.layer_types = (kinds + kinds[-1:] * depth)[:depth]
    text.num_hidden_layers = depth
    return new


def with_blocks(model: Any, blocks: list[Any], *, norm: Any = None, head: Any = None) -> Any:
    """A view of a model with other decoder layers (and final norm, and LM head), sharing everything else."""
    new = shallow(model)
    new.config = shortened(model.config, len(blocks))
    own = parts(model)
    text = shallow(own.text)
    text.config = new.config.get_text_config(decoder=True)
    text._modules["layers"] = nn.ModuleList(blocks)
    if norm is not None:
        text._modules["norm"] = norm
    if own.vision is None:
        new._modules["model"] = text
    else:
        inner = shallow(model.model)
        inner.config = new.config
        inner._modules["language_model"] = text
        new._modules["model"] = inner
    if head is not None:
        new._modules["lm_head"] = head
    return new
