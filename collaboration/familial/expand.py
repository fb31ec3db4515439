"""Grows a trained model without changing what it computes, and turns what was grown into a branch.

A block whose two outputs (attention's o_proj, the MLP's down_proj) are zero adds nothing to the residual stream: it is
the identity, bit for bit, and still receives gradients. `expand` inserts such blocks; `appended` hangs some on an exit,
to be trained with the backbone frozen; `shrink` decomposes what was trained. Knows no optimizer and no data.
Source: AI Flow, section III-B; expansion and decomposition as in the Ruyi2 report.

Legend: B rows, T tokens.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from aiflow.collaboration.familial.branch import Branch, low_rank_block
from aiflow.collaboration.familial.factor import Gram, factor, whiten
from aiflow.collaboration.familial.kinds import LINEARS, SHARED_INPUT, get_linear, new_block, parts
from aiflow.collaboration.familial.linear import rank_of
from aiflow.collaboration.familial.running import run
from aiflow.errors import InputError

Init = Literal["copy", "random"]
"""Where the weights of a new block come from, its two zero outputs apart."""

OUTPUTS = ("self_attn.o_proj", "mlp.down_proj")
"""The linears that write into the residual stream."""


def expand(model: Any, after: Sequence[int], *, init: Init = "copy", seed: int = 0) -> Any:
    """A deeper model of the same class whose logits equal the model's bit for bit; the model is left as it is.

    Args:
        model: a causal or LLaVA-type transformers model.
        after: block numbers from 1; each gets one new block behind it (a number given twice gets two).
        init: ``copy`` takes the other weights from the block in front, ``random`` draws them as in a new model.
        seed: of the random weights.

    Raises:
        InputError: if a block number is not in 1..L, none is given, or ``init`` is unknown.
        UnsupportedModelError: for an architecture that is not known.
    """
    depth = len(parts(model).text.layers)
    numbers = sorted(after)
    if not numbers or numbers[0] < 1 or numbers[-1] > depth:
        raise InputError(f"after={list(after)} is not usable; give block numbers from 1 to {depth}.")
    new = copy.deepcopy(model)
    text = parts(new).text
    generator = torch.Generator().manual_seed(seed)
    blocks: list[Any] = []
    for number, block in enumerate(text.layers, start=1):
        blocks.append(block)
        for _ in range(numbers.count(number)):
            blocks.append(zero_residual(block, text.config, init=init, generator=generator))
    for index, block in enumerate(blocks):
        block.self_attn.layer_idx = index
    text.layers = nn.ModuleList(blocks)
    # A LLaVA-type model keeps its decoder's config twice: in its own config and in the decoder.
    for config in {id(c): c for c in (text.config, new.config.get_text_config(decoder=True))}.values():
        _deepen(config, numbers)
    return new


def appended(
    backbone: Any, exit_: int, count: int = 3, *, init: Init = "random", seed: int = 0, own_norm: bool = False
) -> Branch:
    """A dense branch of ``count`` zero-residual blocks for an exit: at first it reads out h^(e) as it is.

    Nothing of it is shared with the backbone, so training its parameters leaves the backbone frozen. With ``own_norm``
    it also gets a copy of the final norm; with ``copy`` its blocks start from the ones behind the exit.

    Raises:
        InputError: if ``exit_`` is not in 1..L-1, ``count`` is below 1, or ``init`` is unknown.
    """
    own = parts(backbone)
    depth = len(own.text.layers)
    if not 1 <= exit_ < depth:
        raise InputError(f"a branch at exit {exit_} is not usable; the backbone has the exits 1 to {depth - 1}.")
    if count < 1:
        raise InputError(f"count={count} is not usable; append at least one block.")
    generator = torch.Generator().manual_seed(seed)
    blocks = []
    for i in range(count):
        source = own.text.layers[min(exit_ + i, depth - 1)]
        block = zero_residual(source, own.text.config, init=init, generator=generator)
        block.self_attn.layer_idx = exit_ + i
        blocks.append(block)
    return Branch(blocks, norm=copy.deepcopy(own.text.norm) if own_norm else None)


def zero_residual(source: Any, config: Any, *, init: Init, generator: torch.Generator) -> Any:
    """A new decoder layer that is the identity, of ``source``'s kind, dtype and device. Raises InputError."""
    if init == "copy":
        block = copy.deepcopy(source)
    elif init == "random":
        block = _random_like(source, config, generator)
    else:
        raise InputError(f"init={init!r} is not known; use 'copy' or 'random'.")
    with torch.no_grad():
        for name in OUTPUTS:
            for parameter in get_linear(block, name).parameters():
                parameter.zero_()
    return block.requires_grad_(True)


def measure(backbone: Any, exit_: int, branch: Branch, batches: Iterable[tuple[Tensor, Tensor]]) -> list[list[Gram]]:
    """Gram matrices of what a branch's linears read on calibration text: by block, then by group of SHARED_INPUT.

    Args:
        backbone: the model that the branch hangs on.
        exit_: backbone blocks in front of the branch.
        branch: a dense branch.
        batches: pairs of token ids (B, T) and a mask (B, T), 0 where padding; padding does not count.
    """
    own, blocks = parts(backbone), branch.at(exit_).blocks
    table = [[Gram(get_linear(block, group[0]).in_features) for group in SHARED_INPUT] for block in blocks]
    kept_T = torch.empty(0)

    def listen(gram: Gram) -> Any:
        return lambda _, args: gram.add(args[0].flatten(0, -2), kept_T)

    hooks = [
        get_linear(block, group[0]).register_forward_pre_hook(listen(gram))
        for block, grams in zip(blocks, table, strict=True)
        for group, gram in zip(SHARED_INPUT, grams, strict=True)
    ]
    try:
        with torch.no_grad():
            for ids_BT, mask_BT in batches:
                kept_T = mask_BT.flatten().bool()
                run(own, [*own.text.layers[:exit_], *blocks], own.text.embed_tokens(ids_BT), mask_BT=mask_BT.bool())
    finally:
        for hook in hooks:
            hook.remove()
    return table


def shrink(branch: Branch, grams: Sequence[Sequence[Gram]], keep: float) -> Branch:
    """The low-rank branch of a dense one, by whitened SVD; norms, biases and an own head are copied.

    Args:
        branch: a dense branch, usually a trained one of `appended`.
        grams: of `measure`, on the same branch.
        keep: kept share of each linear's parameters (0.6: the published "40 % fewer added parameters").

    Raises:
        InputError: if the branch is low-rank already, ``keep`` is not usable, or the calibration text was empty.
    """
    if branch.low_rank:
        raise InputError("this branch is low-rank already; take a part of it with `branch.first`.")
    if len(grams) != len(branch.blocks):
        raise InputError(
            f"Gram matrices of {len(grams)} blocks for a branch of {len(branch.blocks)}; measure it again."
        )
    blocks = []
    for block, of_block in zip(branch.blocks, grams, strict=True):
        layers: dict[str, Any] = {name: get_linear(block, name) for name in LINEARS}
        ranks = {name: rank_of(x.out_features, x.in_features, keep) for name, x in layers.items()}
        factors = _factors(layers, of_block, ranks)
        attention: Any = block.self_attn
        blocks.append(low_rank_block(block, factors, ranks, attention.layer_idx))
    return Branch(blocks, norm=copy.deepcopy(branch.norm), head=copy.deepcopy(branch.head))


def _factors(layers: Mapping[str, Any], grams: Sequence[Gram], ranks: Mapping[str, int]) -> dict[str, Any]:
    found = {}
    for group, gram in zip(SHARED_INPUT, grams, strict=True):
        whitening = whiten(gram)
        for name in group:
            found[name] = factor(layers[name].weight.detach(), whitening, ranks[name])
    return found


def _random_like(source: Any, config: Any, generator: torch.Generator) -> Any:
    like = next(source.parameters())
    with torch.device("meta"):  # drawing default weights would move the caller's random state
        block = new_block(config, source.self_attn.layer_idx).to(like.dtype)
    block = block.to_empty(device=like.device).train(source.training)
    with torch.no_grad():
        for name, parameter in block.named_parameters():
            if parameter.dim() == 2:
                drawn = torch.randn(parameter.shape, generator=generator) * config.initializer_range
                parameter.copy_(drawn)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return block


def _deepen(config: Any, after: Sequence[int]) -> None:
    """Adapts the number of blocks and what the config says block by block; ``after`` as in `expand`, ascending."""
    depth = config.num_hidden_layers
    kinds = getattr(config, "layer_types", None)
    if kinds:
        config.layer_types = [kind for n, kind in enumerate(kinds, 1) for _ in range(1 + after.count(n))]
    if getattr(config, "max_window_layers", None) is not None:
        config.max_window_layers += sum(number <= config.max_window_layers for number in after)
    config.num_hidden_layers = depth + len(after)
