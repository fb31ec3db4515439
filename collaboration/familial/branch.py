"""A branch: decoder blocks between an exit and the LM head, whose linears are low-rank (EESB) or dense (Ruyi).

Knows nothing of the backbone it hangs on. Source: AI Flow, section III-B2.
"""

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from aiflow.collaboration.familial.kinds import LINEARS, get_linear, set_linear, shallow, with_linears
from aiflow.collaboration.familial.linear import First, LowRank, balanced, rank_of, size
from aiflow.errors import InputError

Ranks = Mapping[str, int]
"""Rank by linear name, for every block of a branch alike."""


class Branch(nn.Module):
    """``blocks``: decoder layers; ``norm`` and ``head``: its own final norm and LM head, or None for the backbone's."""

    def __init__(self, blocks: list[Any], *, norm: Any = None, head: Any = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.head = head

    @property
    def low_rank(self) -> bool:
        """Whether its linears are factors, so that a part of it can be used."""
        return isinstance(get_linear(self.blocks[0], LINEARS[0]), LowRank)

    def ranks(self, keep: float | None = None) -> dict[str, int]:
        """Rank by linear name at ``keep`` (None: all that is stored).

        Raises:
            InputError: if the branch is dense, or stores fewer components than ``keep`` asks for.
        """
        if not self.low_rank:
            raise InputError("this branch is a dense block and has no ranks; leave out `keep`.")
        linears = {name: get_linear(self.blocks[0], name) for name in LINEARS}
        if keep is None:
            return {name: linear.rank for name, linear in linears.items()}
        wanted = {name: rank_of(x.out_features, x.in_features, keep) for name, x in linears.items()}
        if any(wanted[name] > linears[name].rank for name in LINEARS):
            raise InputError(f"keep={keep} is not usable; this branch stores the share {self.keep:.4f} of its block.")
        return wanted

    @property
    def keep(self) -> float:
        """The largest share that every linear still holds."""
        linears = [get_linear(self.blocks[0], name) for name in LINEARS]
        shares = [x.rank * (x.in_features + x.out_features) / (x.in_features * x.out_features) for x in linears]
        # Ranks are floored, so the share that was asked for lies up to one component above the stored one.
        return float(min(1.0, *(s + _step(x) * 0.999 for s, x in zip(shares, linears, strict=True))))

    def first(self, ranks: Ranks, index: int = 0) -> "Branch":
        """A view with the first components of each linear; ``index`` is its place in the key-value cache."""
        views = [
            with_linears(block, {name: get_linear(block, name).first(ranks[name]) for name in LINEARS}, index + i)
            for i, block in enumerate(self.blocks)
        ]
        return self._view(views)

    def at(self, index: int) -> "Branch":
        """A view of the whole branch whose blocks use the cache from place ``index`` on."""
        return self._view([with_linears(block, {}, index + i) for i, block in enumerate(self.blocks)])

    def _view(self, blocks: list[Any]) -> "Branch":
        new: Branch = shallow(self)
        new._modules["blocks"] = nn.ModuleList(blocks)
        return new

    def parameters_used(self) -> int:
        """Parameters of the blocks, the own norm and the own head."""
        total = 0
        for block in self.blocks:
            inside = {id(p) for name in LINEARS for p in get_linear(block, name).parameters()}
            total += sum(size(get_linear(block, name)) for name in LINEARS)
            total += sum(p.numel() for p in block.parameters() if id(p) not in inside)
        for own in (self.norm, self.head):
            total += sum(p.numel() for p in own.parameters()) if own is not None else 0
        return total


def low_rank_block(block: Any, factors: Mapping[str, Any], ranks: Ranks, index: int) -> Any:
    """A copy of a decoder layer whose linears are the factors' first components; norms and biases are copied.

    Args:
        block: the dense decoder layer.
        factors: by linear name, objects with ``u_HM`` and ``v_HN`` (`factor.Factors`).
        ranks: components to keep of each linear.
        index: its place in the key-value cache.
    """
    dtype = next(block.parameters()).dtype
    config = block.self_attn.config  # stays shared, so that switching the attention kernel reaches every block
    new = copy.deepcopy(block, {id(config): config})
    for name in LINEARS:
        bias = get_linear(block, name).bias
        u_HM, v_HN = balanced(*(f[: ranks[name]] for f in (factors[name].u_HM, factors[name].v_HN)))
        set_linear(new, name, LowRank(u_HM.to(dtype), v_HN.to(dtype), None if bias is None else bias.detach().clone()))
    new.self_attn.layer_idx = index
    return new


def _step(linear: LowRank | First) -> float:
    m, n = linear.out_features, linear.in_features
    return (m + n) / (m * n)
