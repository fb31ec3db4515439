"""Several entropy models and the router that picks one per feature.

An entropy model sees a feature in units of the quantiser's step. Its analysis makes a few whole numbers of it (the
hyperprior, coded with a learned factorised Laplace prior), its synthesis makes of those a mean and a scale per channel.
Features do not see each other, so that each decodes by itself. Source: AI Flow, section II-B1.

Legend: ... features, E models, Q levels of quality, D channels, H hidden units, Z values of the hyperprior.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from aiflow.collaboration.tofc import laplace


def rounded(x: Tensor) -> Tensor:
    """Rounds, with the gradient of the identity (straight-through estimator)."""
    return x + (x.round() - x).detach()


def noisy(x: Tensor) -> Tensor:
    """Uniform noise of one step: what rounding looks like to a rate that must be differentiable."""
    return x + torch.rand_like(x) - 0.5


class EntropyModels(nn.Module):
    """E models side by side, as stacked weights."""

    def __init__(self, *, channels: int, hidden: int, hyper: int, models: int, levels: int) -> None:
        super().__init__()
        self.into = nn.Parameter(_spread(models, channels, hidden))
        self.hyper = nn.Parameter(_spread(models, hidden, hyper))
        self.back = nn.Parameter(_spread(models, hyper, hidden))
        self.out = nn.Parameter(0.1 * _spread(models, hidden, 2 * channels))
        self.level = nn.Parameter(torch.zeros(levels, models, 2, hidden))
        self.out_bias = nn.Parameter(torch.zeros(levels, models, 2 * channels))
        self.prior_mean = nn.Parameter(torch.zeros(levels, models, hyper))
        self.prior_scale = nn.Parameter(torch.zeros(levels, models, hyper))

    def analyse(self, u: Tensor, level: int) -> Tensor:
        """Features (..., D) -> the hyperprior before rounding (..., E, Z)."""
        h = F.gelu(torch.einsum("...d,edh->...eh", u, self.into) + self.level[level, :, 0])
        return torch.einsum("...eh,ehz->...ez", h, self.hyper)

    def synthesise(self, z: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """A rounded hyperprior (..., E, Z) -> mean and scale, each (..., E, D), in steps."""
        h = F.gelu(torch.einsum("...ez,ezh->...eh", z, self.back) + self.level[level, :, 1])
        mean, raw = (torch.einsum("...eh,ehd->...ed", h, self.out) + self.out_bias[level]).chunk(2, -1)
        return mean, F.softplus(raw) + laplace.LEAST

    def prior(self, level: int) -> tuple[Tensor, Tensor]:
        """Mean and scale (E, Z) of the hyperprior's values."""
        return self.prior_mean[level], F.softplus(self.prior_scale[level]) + laplace.LEAST

    def forward(self, u: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """What every model makes of features (..., D): the decoded ones (..., E, D) and the bits of each (..., E)."""
        raw = self.analyse(u, level)
        mean, scale = self.synthesise(rounded(raw), level)
        centre, width = self.prior(level)
        rest = u[..., None, :] - mean
        cost = laplace.bits(noisy(rest), scale).sum(-1) + laplace.bits(noisy(raw) - centre, width).sum(-1)
        return mean + rounded(rest), cost

    def frozen(self) -> "Frozen":
        """What coding needs, as the weights are now."""
        names = ("into", "hyper", "back", "out", "level", "out_bias", "prior_mean", "prior_scale")
        # Levels or models may be rows of one parameter or parameters of their own.
        return Frozen({name: torch.stack(list(getattr(self, name))).detach().cpu().float() for name in names})


class Frozen:
    """One model per feature, on the CPU. Whatever decides a table is computed in float64, alike at both ends.

    A mean only has to be near the sender's, so that float32 does.

    Attributes:
        levels, models, hyper: Q, E, Z.
        weights: of the synthesis; with `tables` all that it depends on.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """``weights``: those of `EntropyModels`, float32."""
        self.levels, self.models, self.hyper = weights["prior_mean"].shape
        # Matrices stand at the left, transposed: times a few columns that is faster than a few rows times them.
        self._into, self._hyper = (weights[name].mT.contiguous() for name in ("into", "hyper"))
        self._back = weights["back"].mT.double().contiguous()
        self._into_bias, back_bias = weights["level"][..., None].unbind(2)
        mean, raw = weights["out"].mT.chunk(2, -2)
        self._mean, self._raw = mean.contiguous(), raw.double().contiguous()
        mean, raw = weights["out_bias"].chunk(2, -1)
        self._back_bias, self._mean_bias, self._raw_bias = back_bias.double(), mean.contiguous(), raw.double()
        self.weights = (self._back, self._back_bias, self._mean, self._mean_bias, self._raw, self._raw_bias)
        prior_mean, prior_raw = (weights[name].double().numpy() for name in ("prior_mean", "prior_scale"))
        self._prior = laplace.shifted(prior_mean, _scale(prior_raw))

    def prior(self, level: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Of the hyperprior's values (E, Z): what to subtract, and the table of the rest (`laplace.shifted`)."""
        whole_QEZ, table_QEZ = self._prior
        return whole_QEZ[level], table_QEZ[level]

    def tables(self) -> NDArray[np.int32]:
        """All that `prior` gives (2, Q, E, Z): whole numbers that machines must agree on."""
        return np.stack(self._prior)

    def analyse(self, u_MD: Tensor, model_M: NDArray[np.int32], level: int) -> NDArray[np.float32]:
        """Features in steps -> the hyperprior (M, Z) before rounding."""
        raw_MZ, u_DM = torch.empty(len(u_MD), self.hyper), u_MD.T.contiguous()
        for e, rows in _rows(model_M):
            h = F.gelu(torch.addmm(self._into_bias[level, e], self._into[e], u_DM[:, rows]))
            raw_MZ[rows] = (self._hyper[e] @ h).T
        return raw_MZ.numpy()

    def synthesise(
        self, z_MZ: NDArray[np.int32], model_M: NDArray[np.int32], level: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Means (M, D) in steps and indices (M, D) into ``laplace.SCALES``."""
        z_ZM = torch.from_numpy(z_MZ).T.double()
        order, means, raws = [], [], []
        for e, rows in _rows(model_M):
            h = F.gelu(torch.addmm(self._back_bias[level, e], self._back[e], z_ZM[:, rows]))
            order.append(rows)
            means.append(self._mean[e] @ h.float())
            raws.append(self._raw[e] @ h)
        back, models = torch.cat(order).argsort(), torch.from_numpy(model_M)
        mean_MD = torch.cat(means, 1).T[back] + self._mean_bias[level][models]
        raw_MD = torch.cat(raws, 1).T[back] + self._raw_bias[level][models]
        return mean_MD.numpy(), laplace.nearest(_scale(raw_MD.numpy()))


class Router(nn.Module):
    """Scores every entropy model for a feature."""

    def __init__(self, *, channels: int, hidden: int, models: int) -> None:
        super().__init__()
        self.into = nn.Linear(channels, hidden)
        self.out = nn.Linear(hidden, models)

    def forward(self, u: Tensor) -> Tensor:
        """Features (..., D) -> scores (..., E)."""
        scores: Tensor = self.out(F.gelu(self.into(u)))
        return scores


def balance(weights: Tensor) -> Tensor:
    """Sum of squared differences between the mean choice and an equal one: 0 if balanced, 1 - 1/E if collapsed.

    ``weights`` (..., E): the softmax of the router's scores.
    """
    share_E = weights.flatten(0, -2).mean(0)
    return (share_E - 1 / len(share_E)).square().sum()


def _spread(models: int, rows: int, columns: int) -> Tensor:
    return torch.randn(models, rows, columns) * float(rows**-0.5)


def _rows(model_M: NDArray[np.int32]) -> list[tuple[int, Tensor]]:
    return [(int(e), torch.from_numpy(np.flatnonzero(model_M == e))) for e in np.unique(model_M)]


def _scale(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softplus and the least scale, as `EntropyModels.synthesise`."""
    return np.log1p(np.exp(-np.abs(raw))) + np.maximum(raw, 0) + laplace.LEAST
