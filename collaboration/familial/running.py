"""Runs decoder layers of any supported kind outside their model: positions, masks and rotary angles made explicit.

Legend: B rows, T tokens, K cached and new tokens, D model size.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.familial.kinds import Parts


def run(own: Parts, blocks: Iterable[Any], h_BTD: Tensor, *, mask_BT: Tensor | None = None) -> Tensor:
    """Decoder layers on whole sequences without a cache. ``mask_BT``: False on padding."""
    from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

    positions_BT = _positions(h_BTD, mask_BT)
    angles = own.text.rotary_emb(h_BTD, positions_BT)
    masks: dict[str, Any] = {}
    for block in blocks:
        kind = _kind(own.config, block)
        if kind not in masks:
            make = create_sliding_window_causal_mask if kind == "sliding_attention" else create_causal_mask
            masks[kind] = make(
                config=own.config,
                inputs_embeds=h_BTD,
                attention_mask=mask_BT,
                past_key_values=None,
                position_ids=positions_BT,
            )
        h_BTD = block(h_BTD, attention_mask=masks[kind], position_ids=positions_BT, position_embeddings=angles)
    return h_BTD


def step(
    own: Parts, block: Any, h_BTD: Tensor, *, start: int, positions_BT: Tensor, valid_BK: Tensor, cache: Any
) -> Tensor:
    """One decoder layer on the tokens from place ``start`` on, over its own cache of all earlier ones.

    Args:
        own: parts of the model the layer comes from.
        block: the decoder layer; its ``layer_idx`` says its place in ``cache``.
        h_BTD: its input.
        start: tokens the layer has seen before.
        positions_BT: rotary positions of the new tokens.
        valid_BK: False on padding, for the earlier and the new tokens.
        cache: a ``DynamicCache``.
    """
    T, K = h_BTD.shape[1], start + h_BTD.shape[1]
    keys, queries = torch.arange(K, device=h_BTD.device), torch.arange(start, K, device=h_BTD.device)[:, None]
    seen_TK = keys <= queries
    if _kind(own.config, block) == "sliding_attention":
        seen_TK = seen_TK & (keys > queries - own.config.sliding_window)
    blocked = torch.finfo(h_BTD.dtype).min
    mask_B1TK = torch.zeros(h_BTD.shape[0], 1, T, K, dtype=h_BTD.dtype, device=h_BTD.device)
    mask_B1TK.masked_fill_(~(seen_TK & valid_BK[:, None, None, :K]), blocked)
    out: Tensor = block(
        h_BTD,
        attention_mask=mask_B1TK,
        position_ids=positions_BT,
        position_embeddings=own.text.rotary_emb(h_BTD, positions_BT),
        past_key_values=cache,
        use_cache=True,
    )
    return out


def _kind(config: Any, block: Any) -> str:
    kinds = getattr(config, "layer_types", None)
    if not kinds:
        # Mistral's window is for all layers; Llama has none.
        return "sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"
    return str(kinds[min(block.self_attn.layer_idx, len(kinds) - 1)])


def _positions(h_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
    if mask_BT is None:
        return torch.arange(h_BTD.shape[1], device=h_BTD.device)[None]
    return (mask_BT.long().cumsum(-1) - 1).clamp(min=0)
