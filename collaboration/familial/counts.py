"""Parameters of a familial model and its members, as exact integers from a transformers configuration alone.

P(e, keep) = fixed + e * block + branch(keep): embeddings and head count once each (once together where tied), and the
vision tower and projector of LLaVA belong to ``fixed``. Knows Llama, Qwen2, Qwen3, Mistral; LLaVA with a CLIP tower.
Knows nothing of weights, and nothing of which exits a trained family has. Source: EESB, AI Flow III-B2.
"""

from collections.abc import Mapping
from typing import Any

from aiflow.collaboration.familial.kinds import LINEARS, VISION, text_config
from aiflow.collaboration.familial.linear import rank_of
from aiflow.errors import InputError, UnsupportedModelError


def fixed(config: Any) -> int:
    """What every member holds: embeddings, head, final norm, and the vision tower and projector where there are any."""
    return _embeddings(config) + int(text_config(config).hidden_size) + _vision(config) + _projector(config)


def block(config: Any) -> int:
    """One backbone block: its seven linears, biases and norms."""
    return sum(m * n for m, n in shapes(config).values()) + norms(config)


def shapes(config: Any) -> dict[str, tuple[int, int]]:
    """(M outputs, N inputs) of each of a block's seven linears, by name."""
    text = text_config(config)
    d, f, head = text.hidden_size, text.intermediate_size, head_dim(config)
    q, kv = text.num_attention_heads * head, text.num_key_value_heads * head
    return dict(zip(LINEARS, ((q, d), (kv, d), (kv, d), (d, q), (f, d), (f, d), (d, f)), strict=True))


def norms(config: Any) -> int:
    """Parameters of one block that a branch keeps at any rank: its norms and the biases of its linears."""
    text = text_config(config)
    biased: tuple[str, ...] = ()
    if text.model_type == "qwen2":
        biased = ("q_proj", "k_proj", "v_proj")
    elif getattr(text, "attention_bias", False):
        biased = ("q_proj", "k_proj", "v_proj", "o_proj")
    if getattr(text, "mlp_bias", False):
        biased += ("gate_proj", "up_proj", "down_proj")
    biases = sum(m for name, (m, _) in shapes(config).items() if name.split(".")[1] in biased)
    heads = 2 * head_dim(config) if text.model_type == "qwen3" else 0
    return 2 * int(text.hidden_size) + heads + biases


def branch(config: Any, keep: float | None = None, ranks: Mapping[str, int] | None = None) -> int:
    """A branch of one decomposed block: H * (M + N) per linear plus norms and biases; no own head or final norm.

    ``keep`` in (0, 1] gives each linear rank floor(keep * M * N / (M + N)); ``ranks`` names the ranks instead.
    Raises InputError for a keep or rank out of range, or unless exactly one of the two is given.
    """
    if (keep is None) == (ranks is None):
        raise InputError(f"keep={keep} and ranks={ranks}: give exactly one of the two.")
    if ranks is None:
        assert keep is not None
        ranks = {name: rank_of(m, n, keep) for name, (m, n) in shapes(config).items()}
    known = shapes(config)
    return norms(config) + sum(sum(known[name]) * rank for name, rank in _checked(known, ranks).items())


def member(config: Any, exit: int, keep: float | None = None) -> int:
    """The member that runs ``exit`` backbone blocks and then its branch.

    Without ``keep`` (or with 0) it is the early exit without a branch, and at ``exit`` = L the full model, which has
    none. What a family stores is not known here, so None cannot mean the whole stored branch as it does in `Member`.
    Raises InputError where the exit is not in 1..L, or keep is given at L.
    """
    layers = depth(config)
    if not 1 <= exit <= layers:
        raise InputError(f"exit {exit} is not in 1..{layers}, the blocks of this model.")
    if exit == layers and keep is not None:
        raise InputError(f"keep {keep} at exit {exit}: the full model has no branch; leave keep out or exit earlier.")
    return fixed(config) + exit * block(config) + (branch(config, keep) if keep else 0)


def total(config: Any) -> int:
    """The full model."""
    return member(config, depth(config))


def non_embedding(config: Any, exit: int) -> int:
    """The first ``exit`` blocks without embeddings and head, as AI-Flow-Ruyi names its sizes (3B at 12 of 28 blocks).

    A Ruyi exit point p runs p blocks and one full block of its own: count it as ``exit`` = p + 1.
    """
    return member(config, exit) - _embeddings(config)


def depth(config: Any) -> int:
    """L, the blocks of the full model."""
    return int(text_config(config).num_hidden_layers)


def head_dim(config: Any) -> int:
    """Width of one attention head."""
    text = text_config(config)
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)


def _embeddings(config: Any) -> int:
    text = text_config(config)
    copies = 1 if config.tie_word_embeddings else 2
    return copies * int(text.vocab_size) * int(text.hidden_size)


def _checked(known: Mapping[str, tuple[int, int]], ranks: Mapping[str, int]) -> Mapping[str, int]:
    if set(ranks) != set(known):
        odd = sorted(set(ranks) ^ set(known))
        raise InputError(f"ranks leave out or do not know {', '.join(odd)}: name exactly {', '.join(known)}.")
    for name, rank in ranks.items():
        if not 1 <= rank <= min(known[name]):
            raise InputError(f"rank {rank} of {name} is not in 1..{min(known[name])}.")
    return ranks


def _vision(config: Any) -> int:
    if config.model_type not in VISION:
        return 0
    v = config.vision_config
    if v.model_type != "clip_vision_model":
        raise UnsupportedModelError(f"vision tower {v.model_type!r}: use a LLaVA with a clip_vision_model.")
    d, f = v.hidden_size, v.intermediate_size
    attention, mlp, layer_norms = 4 * (d * d + d), 2 * d * f + f + d, 4 * d
    patches = (v.image_size // v.patch_size) ** 2
    embeddings = d + d * v.num_channels * v.patch_size**2 + (patches + 1) * d
    before_and_after = 4 * d
    return int(embeddings + before_and_after + v.num_hidden_layers * (attention + mlp + layer_norms))


def _projector(config: Any) -> int:
    if config.model_type not in VISION:
        return 0
    levels = 1 if isinstance(config.vision_feature_layer, int) else len(config.vision_feature_layer)
    n, m = levels * config.vision_config.hidden_size, text_config(config).hidden_size
    return int(n * m + m * m + (2 * m if config.multimodal_projector_bias else 0))
