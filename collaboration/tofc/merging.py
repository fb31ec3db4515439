"""Merges the features of an image into few: density peaks clustering with K nearest neighbours, then means.

A centre is a feature that is dense (near its neighbours) and far from any denser one. All in logarithms, since
densities of vision features underflow; ties go to the lower index, so that the same input always gives the same
clusters. Centres come in the order of the input (an image's raster). Source: AI Flow, section II-B1 (DPC-KNN).

Legend: B images, N features, C channels, M clusters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aiflow.errors import InputError

NEIGHBOURS = 5
"""K: nearest neighbours that make a feature's density, the feature itself among them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clusters:
    """``centres_BM``: indices of the centres, ascending; ``labels_BN``: of every feature, its cluster (0..M-1)."""

    centres_BM: Tensor
    labels_BN: Tensor

    def merge(self, x_BNC: Tensor) -> Tensor:
        """The mean (B, M, C) of each cluster; differentiable in ``x_BNC``."""
        B, M = self.centres_BM.shape
        sums_BMC = x_BNC.new_zeros(B, M, x_BNC.shape[-1])
        sums_BMC = sums_BMC.scatter_add(1, self.labels_BN[..., None].expand_as(x_BNC), x_BNC)
        return sums_BMC / self.counts_BM[..., None].to(x_BNC.dtype)

    @property
    def counts_BM(self) -> Tensor:
        """How many features each cluster has (at least its centre)."""
        counts_BM = torch.zeros_like(self.centres_BM)
        return counts_BM.scatter_add(1, self.labels_BN, torch.ones_like(self.labels_BN))


@torch.no_grad()
def cluster(x_BNC: Tensor, count: int, *, neighbours: int = NEIGHBOURS) -> Clusters:
    """Groups the features of each image around ``count`` of them.

    Args:
        x_BNC: features, of any float dtype; computed in at least float32.
        count: M, from 1 to N. M = N: every feature is its own cluster.
        neighbours: K; more than N counts as N.

    Raises:
        InputError: for another count or shape, neighbours below 1, or values that are not finite.
    """
    if x_BNC.ndim != 3 or not x_BNC.is_floating_point():
        raise InputError(f"features {tuple(x_BNC.shape)} of {x_BNC.dtype} cannot be merged; give floats (B, N, C).")
    N = x_BNC.shape[1]
    if not 1 <= count <= N:
        raise InputError(f"{count} tokens of {N} features cannot be kept; give 1 to {N}.")
    if neighbours < 1:
        raise InputError(f"{neighbours} neighbours make no density; give at least 1.")
    x_BNC = x_BNC if x_BNC.dtype == torch.float64 else x_BNC.float()
    square_BNN = _squares(x_BNC)
    if not bool(square_BNN.isfinite().all()):
        raise InputError("features that are not finite cannot be merged; look for what overflows in the encoder.")
    score_BN = _scores(square_BNN, min(neighbours, N))
    # A stable sort keeps the lower index first among equals, which topk does not promise.
    order_BN = score_BN.sort(dim=1, descending=True, stable=True).indices
    centres_BM = order_BN[:, :count].sort(dim=1).values
    toward_BMN = square_BNN.gather(1, centres_BM[..., None].expand(-1, -1, N))
    labels_BN = toward_BMN.argmin(1)
    own_BM = torch.arange(count, device=x_BNC.device).expand_as(centres_BM)
    return Clusters(centres_BM=centres_BM, labels_BN=labels_BN.scatter(1, centres_BM, own_BM))


def shares(features: Sequence[int], tokens: int) -> list[int]:
    """How many of ``tokens`` each tile of an image keeps, by its number of features: at least one."""
    total = sum(features)
    return [max(1, round(min(tokens, total) * count / total)) for count in features]


def normalised(x_BNC: Tensor) -> Tensor:
    """Features in units in which the squared distance of two of an image is 1 per channel, on average.

    The score multiplies a density, exp(-distance**2), with a distance: where distances are large the density alone
    decides, and the centres are what there is most of, the background.
    """
    centred_BNC = x_BNC - x_BNC.mean(1, keepdim=True)
    spread_B11 = centred_BNC.square().mean((1, 2), keepdim=True)
    return centred_BNC / (2 * spread_B11).sqrt().clamp(min=torch.finfo(x_BNC.dtype).tiny)


def _squares(x_BNC: Tensor) -> Tensor:
    """Squared distances (B, N, N), divided by C; exactly symmetric, the diagonal exactly 0."""
    centred_BNC = x_BNC - x_BNC.mean(1, keepdim=True)  # distances stay, and cancel less
    norm_BN = centred_BNC.square().sum(-1)
    product_BNN = centred_BNC @ centred_BNC.mT
    square_BNN = (norm_BN[:, :, None] + norm_BN[:, None, :]).sub_(product_BNN, alpha=2).clamp_(min=0)
    square_BNN.diagonal(dim1=1, dim2=2).zero_()
    return torch.minimum(square_BNN, square_BNN.mT).div_(x_BNC.shape[-1])


def _scores(square_BNN: Tensor, neighbours: int) -> Tensor:
    """Log density plus log distance to the nearest denser feature, of each feature."""
    N = square_BNN.shape[1]
    density_BN = -square_BNN.topk(neighbours, dim=-1, largest=False, sorted=False).values.mean(-1)
    earlier_NN = torch.ones(N, N, dtype=torch.bool, device=square_BNN.device).tril(-1)
    mine, other = density_BN[:, :, None], density_BN[:, None, :]
    denser_BNN = (other > mine) | ((other == mine) & earlier_NN)
    farthest = square_BNN.amax((1, 2), keepdim=True)
    nearest_BN = torch.where(denser_BNN, square_BNN, farthest).amin(-1)
    return density_BN + 0.5 * nearest_BN.log()
