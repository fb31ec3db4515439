"""A family in the released layout, and its forward pass written from the description in plain torch, float32.

Knows nothing of aiflow or transformers: it is what the converter is compared with.

Legend: T tokens, D model size, G query heads per key head, K key heads, S head size.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F


def config(kind: str = "qwen2", *, shared: bool = True, tied: bool = False, points: Any = (1, 3, 5)) -> dict[str, Any]:
    """A tiny config.json: 32 wide, six blocks."""
    fields = {
        "model_type": f"ruyi_{kind}",
        "architectures": [f"Ruyi{kind.title()}ForCausalLM"],
        "auto_map": {"AutoModelForCausalLM": f"modeling_ruyi_{kind}.Ruyi{kind.title()}ForCausalLM"},
        "vocab_size": 61,
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 128,
        "max_window_layers": 6,
        "rms_norm_eps": 1e-5,
        "rope_theta": 50000.0,
        "rope_scaling": None,
        "sliding_window": 64,
        "use_sliding_window": False,
        "tie_word_embeddings": tied,
        "torch_dtype": "float32",
        "early_exit_points": list(points),
        "shared_heads": shared,
        "default_early_exit_point": -1,
    }
    if kind == "qwen3":
        fields |= {"head_dim": 12, "attention_bias": False}
    return fields


def weights(fields: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Random tensors under the released names."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.15

    wide, vocab, points = fields["hidden_size"], fields["vocab_size"], fields["early_exit_points"]
    found = {"model.embed_tokens.weight": draw(vocab, wide) * 2}
    prefixes = [f"model.layers.{i}" for i in range(fields["num_hidden_layers"])]
    prefixes += [f"model.eelayers.{k}" for k in range(len(points) - 1)]
    for prefix in prefixes:
        found |= {f"{prefix}.{name}": value for name, value in _block(fields, draw).items()}
    found |= {f"model.norms.{k}.weight": 1 + draw(wide) for k in range(len(points))}
    if not fields["shared_heads"]:
        found |= {f"lm_head.{k}.weight": draw(vocab, wide) for k in range(len(points))}
    elif not fields["tie_word_embeddings"]:
        found["lm_head.weight"] = draw(vocab, wide)
    return found


def save(folder: Path, fields: dict[str, Any], tensors: dict[str, Tensor], shards: int = 1) -> Path:
    """Writes the folder; with several shards, tensors are dealt out to them one by one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    places = {name: names[i % shards] for i, name in enumerate(tensors)}
    for file in names:
        save_file({name: tensors[name] for name in tensors if places[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def logits(fields: dict[str, Any], tensors: dict[str, Tensor], ids_T: Tensor, point: int) -> Tensor:
    """(T, V) at an exit point, which counts blocks from 0."""
    k = fields["early_exit_points"].index(point)
    own = "model.layers." + str(point) if point == fields["num_hidden_layers"] - 1 else f"model.eelayers.{k}"
    h_TD = tensors["model.embed_tokens.weight"][ids_T]
    for prefix in [*(f"model.layers.{i}" for i in range(point)), own]:
        h_TD = _decoder(fields, tensors, prefix, h_TD)
    h_TD = _norm(h_TD, tensors[f"model.norms.{k}.weight"], fields)
    if not fields["shared_heads"]:
        return h_TD @ tensors[f"lm_head.{k}.weight"].T
    tied = fields["tie_word_embeddings"]
    return h_TD @ tensors["model.embed_tokens.weight" if tied else "lm_head.weight"].T


def greedy(fields: dict[str, Any], tensors: dict[str, Tensor], ids_T: Tensor, point: int, count: int) -> Tensor:
    """The prompt and ``count`` most likely tokens, each from a whole forward pass."""
    for _ in range(count):
        ids_T = torch.cat([ids_T, logits(fields, tensors, ids_T, point)[-1:].argmax(-1)])
    return ids_T


def _sizes(fields: dict[str, Any]) -> tuple[int, int, int]:
    heads, keys = fields["num_attention_heads"], fields["num_key_value_heads"]
    return heads, keys, fields.get("head_dim", fields["hidden_size"] // heads)


def _block(fields: dict[str, Any], draw: Any) -> dict[str, Tensor]:
    heads, keys, size = _sizes(fields)
    wide, inner = fields["hidden_size"], fields["intermediate_size"]
    found = {
        "self_attn.q_proj.weight": draw(heads * size, wide),
        "self_attn.k_proj.weight": draw(keys * size, wide),
        "self_attn.v_proj.weight": draw(keys * size, wide),
        "self_attn.o_proj.weight": draw(wide, heads * size),
        "mlp.gate_proj.weight": draw(inner, wide),
        "mlp.up_proj.weight": draw(inner, wide),
        "mlp.down_proj.weight": draw(wide, inner),
        "input_layernorm.weight": 1 + draw(wide),
        "post_attention_layernorm.weight": 1 + draw(wide),
    }
    if fields["model_type"] == "ruyi_qwen2":
        found |= {f"self_attn.{n}_proj.bias": draw(h * size) for n, h in (("q", heads), ("k", keys), ("v", keys))}
    else:
        found |= {f"self_attn.{n}_norm.weight": 1 + draw(size) for n in "qk"}
    return found


def _norm(x: Tensor, weight: Tensor, fields: dict[str, Any]) -> Tensor:
    return weight * x / (x.square().mean(-1, keepdim=True) + fields["rms_norm_eps"]).sqrt()


def _rotate(x_THS: Tensor, theta: float) -> Tensor:
    """Rotary positions: feature i of the first half turns with feature i of the second half."""
    T, _, S = x_THS.shape
    half = S // 2
    speed = theta ** (-torch.arange(half, dtype=torch.float64) * 2 / S)
    angle = (torch.arange(T, dtype=torch.float64)[:, None] * speed)[:, None, :]
    cos, sin = angle.cos().float(), angle.sin().float()
    a, b = x_THS[..., :half], x_THS[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def _attention(fields: dict[str, Any], tensors: dict[str, Tensor], prefix: str, x_TD: Tensor) -> Tensor:
    heads, keys, size = _sizes(fields)

    def project(name: str, count: int) -> Tensor:
        y = x_TD @ tensors[f"{prefix}.self_attn.{name}_proj.weight"].T
        y = y + tensors.get(f"{prefix}.self_attn.{name}_proj.bias", torch.zeros(1))
        y_THS = y.view(-1, count, size)
        scale = tensors.get(f"{prefix}.self_attn.{name}_norm.weight")
        return y_THS if scale is None else _norm(y_THS, scale, fields)

    q_TGS = _rotate(project("q", heads), fields["rope_theta"])
    k_TKS, v_TKS = _rotate(project("k", keys), fields["rope_theta"]), project("v", keys)
    out = []
    for head in range(heads):
        shared = head // (heads // keys)
        score_TT = q_TGS[:, head] @ k_TKS[:, shared].T / size**0.5
        future_TT = torch.ones_like(score_TT).triu(1).bool()
        out.append(score_TT.masked_fill(future_TT, float("-inf")).softmax(-1) @ v_TKS[:, shared])
    return torch.cat(out, -1) @ tensors[f"{prefix}.self_attn.o_proj.weight"].T


def _decoder(fields: dict[str, Any], tensors: dict[str, Tensor], prefix: str, h_TD: Tensor) -> Tensor:
    x_TD = _norm(h_TD, tensors[f"{prefix}.input_layernorm.weight"], fields)
    h_TD = h_TD + _attention(fields, tensors, prefix, x_TD)
    x_TD = _norm(h_TD, tensors[f"{prefix}.post_attention_layernorm.weight"], fields)
    gate = F.silu(x_TD @ tensors[f"{prefix}.mlp.gate_proj.weight"].T)
    inner = gate * (x_TD @ tensors[f"{prefix}.mlp.up_proj.weight"].T)
    return h_TD + inner @ tensors[f"{prefix}.mlp.down_proj.weight"].T
