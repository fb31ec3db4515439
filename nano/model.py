"""The base network: a standard Llama of 4.7 M parameters, and the attention it trains with on a CPU.

Legend: B batch, T tokens, H heads, G heads per key-value head, D head size.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from aiflow.nano import tokenizer as tok

ATTENTION = "aiflow_causal"


def config(**changes: Any) -> Any:
    """The ``LlamaConfig`` of the family; ``changes`` make smaller ones for tests."""
    from transformers import LlamaConfig

    sizes = {
        "vocab_size": tok.VOCAB,
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "intermediate_size": 640,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        "pad_token_id": tok.PAD,
        "bos_token_id": tok.BOS,
        "eos_token_id": tok.EOS,
    }
    return LlamaConfig(**{**sizes, **changes})


def build(seed: int, **changes: Any) -> Any:
    """A fresh ``LlamaForCausalLM`` (fp32) that trains with `causal`."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM(config(**changes))
    use_fast_attention(model)
    return model


def use_fast_attention(model: Any) -> None:
    """Switches a model to `causal`; right-padded training batches only."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, causal)
    model.set_attn_implementation(ATTENTION)


def causal(_module: Any, q_BHTD: Tensor, k: Tensor, v: Tensor, _mask: Any, **_kw: Any) -> tuple[Tensor, None]:
    """Plain causal attention; in bf16 on a CPU its backward is several times faster than the fused kernel's."""
    B, H, T, D = q_BHTD.shape
    kv, G = k.shape[1], H // k.shape[1]
    future = torch.full((T, T), -1e4, dtype=q_BHTD.dtype).triu(1)
    scores = torch.matmul((q_BHTD * D**-0.5).reshape(B, kv, G * T, D), k.transpose(-1, -2)).view(B, H, T, T) + future
    weights = torch.softmax(scores, dim=-1).to(v.dtype)
    out = torch.matmul(weights.view(B, kv, G * T, T), v).view(B, H, T, D)
    return out.transpose(1, 2).contiguous(), None


def fuse_lora(model: Any) -> None:
    """Makes peft's LoRA layers compute ``x (W + s B A)`` in one product while training: cheaper on a CPU, equal."""
    from peft.tuners.lora import Linear

    for module in model.modules():
        if isinstance(module, Linear):
            module.forward = partial(_fused, module)


def _fused(layer: Any, x: Tensor) -> Tensor:
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    return torch.nn.functional.linear(x, layer.base_layer.weight + layer.scaling["default"] * (b @ a))
