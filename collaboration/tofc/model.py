"""A vision language model with a feature codec between its vision encoder and its projector.

Legend: B rows, S tokens, P image tokens of all rows, C channels of a feature, H size of the language model.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

from aiflow.collaboration.familial.kinds import Parts
from aiflow.collaboration.tofc.adapters import adapter
from aiflow.collaboration.tofc.codec import Codec, CodecConfig
from aiflow.errors import InputError


class Compressor(nn.Module):
    """``backbone`` is changed by training: its projector, and LoRA adapters on its tower and language model."""

    def __init__(self, backbone: Any, config: CodecConfig) -> None:
        """Raises UnsupportedModelError for a model without an adapter, InputError for a codec of another width."""
        super().__init__()
        self.backbone = backbone
        self.adapter: Any = adapter(backbone, config.channels)  # training asks for `features`, which Llava has
        self.codec = Codec(config)
        self.folded: dict[str, Any] = {}  # adapters that are in the weights already

    @property
    def parts(self) -> Parts:
        """Where the parts of the model are."""
        found: Parts = self.adapter.parts
        return found

    def place(self, ids_BS: Tensor, x: Tensor, what_P: Tensor | None = None) -> Tensor:
        """Embeddings (B, S, H) of shortened prompts with features at their image tokens; differentiable.

        Args:
            ids_BS: what stays of the prompts.
            x: features (..., C), row by row.
            what_P: which of them stands at each image token, -1 for a newline; None: all in their order.
        """
        h_BSH: Tensor = self.parts.text.embed_tokens(ids_BS)
        x = x.to(next(self.parts.projector.parameters()).dtype)
        h, end_H = self.adapter.project(x).to(h_BSH.dtype), self.adapter.newline
        if what_P is not None:
            h = h.flatten(0, -2)
            h = (h if end_H is None else torch.cat([h, end_H[None].to(h)]))[what_P]
        return h_BSH.masked_scatter((ids_BS == self.adapter.image_token).unsqueeze(-1), h)

    def prepare(self, *, vision_rank: int, text_rank: int, alpha: float = 2.0) -> None:
        """Decides what learns: codec and projector, and fresh LoRA adapters; ``alpha`` scales them.

        Adapters go to the linears of the blocks of vision tower and language model. What learns is kept in float32.

        Raises:
            InputError: for a rank below 1, or a model that has adapters.
        """
        if min(vision_rank, text_rank) < 1:
            raise InputError(f"LoRA ranks {vision_rank} and {text_rank} are not usable; give at least 1.")
        if hasattr(self.backbone, "peft_config"):
            raise InputError("the model has adapters of an earlier training; save it, and load it again.")
        from peft import LoraConfig, inject_adapter_in_model

        self.backbone.requires_grad_(False)
        vision, text = self._linears(self.parts.vision), self._linears(self.parts.text)
        config = LoraConfig(
            r=text_rank,
            lora_alpha=round(alpha * text_rank),
            target_modules=f"{vision}|{text}",
            rank_pattern={vision: vision_rank},
            alpha_pattern={vision: round(alpha * vision_rank)},
        )
        inject_adapter_in_model(config, self.backbone)
        self.parts.projector.requires_grad_(True)
        self.codec.requires_grad_(True)
        for weight in self.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()

    def _linears(self, part: nn.Module) -> str:
        """A pattern of the paths of a part's linears; what stands outside of its blocks, such as a head, has none."""
        blocks = (block for module in part.modules() if isinstance(module, nn.ModuleList) for block in module)
        wanted = {id(m) for block in blocks for m in block.modules() if isinstance(m, nn.Linear)}
        wanted -= {id(m) for m in self.parts.projector.modules()}  # which may be a part of the tower
        return "|".join(re.escape(path) for path, m in self.backbone.named_modules() if id(m) in wanted)

    def save_pretrained(self, folder: Any, *, storage: str = "bfloat16") -> None:
        """Writes config.json and model.safetensors; see `files.save`."""
        from aiflow.collaboration.tofc.files import save

        save(self, folder, storage=storage)

    @classmethod
    def from_pretrained(cls, folder: Any, backbone: Any) -> "Compressor":
        """Reads the compressor of ``backbone``, which is changed; see `files.load`."""
        from aiflow.collaboration.tofc.files import load

        return load(folder, backbone)
