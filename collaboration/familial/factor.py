"""Whitened SVD of a linear's weight: the low-rank factors with the least error on calibration inputs.

Knows matrices only: no models, no files. The error that it minimises is that of one linear on the inputs given; what
later layers make of it is not seen. Biases take no part: they stay with the outputs. All decompositions are in float64.

    G = sum x x^T = S S^T,   W S = U diag(sigma) V^T,   u = (U_H sqrt(sigma_H))^T,   v = sqrt(sigma_H) V_H^T S^+

Then ||W X - u^T v X||_F^2 is the sum of sigma^2 from component H on, and no other rank-H matrix has less (SVD-LLM,
arXiv 2403.07378; AI Flow, section III-B).

Shapes: T tokens, M outputs, N inputs, K rank of the Gram matrix, R = min(M, N) components, H kept components.
"""

import logging
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from aiflow.errors import InputError

_log = logging.getLogger("aiflow.familial")


class Gram:
    """The streaming sum of x x^T over calibration inputs, (N, N) in float64; padding is left out.

    Args:
        n: input width N.
        dtype: of the products. float64 is exact to rounding; float32 is faster, errs by some 1e-6 of the largest
            singular value, and applies to inputs of at most 32 bits: float64 inputs are multiplied in float64 anyway.
            Sums are float64 either way.
        device: where the sum lives.
    """

    def __init__(self, n: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> None:
        if dtype not in (torch.float32, torch.float64):
            raise InputError(f"a Gram matrix cannot be multiplied in {dtype}; use torch.float64 or torch.float32.")
        self.n = n
        self.dtype = dtype
        self.tokens = 0
        self._sum_NN = torch.zeros(n, n, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, x_TN: Tensor, mask_T: Tensor | None = None) -> None:
        """Adds inputs, (T, N) or (..., N) of any float dtype; ``mask_T`` (or (...)) is false or 0 at padding.

        Raises:
            InputError: at a wrong width, a mask of another shape or a value that is not finite; the sum stays the same.
        """
        x_TN = _tokens(x_TN, self.n, mask_T)
        exact = x_TN.dtype == torch.float64 or self.dtype == torch.float64
        x_TN = x_TN.to(self._sum_NN.device, torch.float64 if exact else torch.float32)
        product_NN = x_TN.T @ x_TN
        if not bool((self._sum_NN.diagonal() + product_NN.diagonal()).isfinite().all()):
            raise InputError("calibration inputs overflow the Gram matrix; look for a layer whose activations explode.")
        self._sum_NN += product_NN
        self.tokens += len(x_TN)

    @property
    def matrix_NN(self) -> Tensor:
        """The sum. Raises InputError if no token was added."""
        if not self.tokens:
            raise InputError("no calibration token: every position was padding or no batch was given; add real text.")
        return self._sum_NN

    @property
    def tolerance(self) -> float:
        """The share of the largest eigenvalue below which an eigenvalue is rounding error of the products."""
        if self.dtype == torch.float64:
            return self.n * torch.finfo(torch.float64).eps
        return float(self.n**0.5) * torch.finfo(torch.float32).eps


@dataclass(frozen=True, kw_only=True, eq=False)
class Whitening:
    """A square root of a Gram matrix, G = S S^T, and its pseudo-inverse.

    Attributes:
        s_NK: S. Lower triangular (K = N) for "cholesky"; scaled eigenvectors for "eigen"; the identity for "plain".
        method: how it was found.
    """

    s_NK: Tensor
    method: Literal["cholesky", "eigen", "plain"]

    @property
    def pinv_KN(self) -> Tensor:
        """S^+. Use `unwhiten` for a product with it: that solves instead of inverting."""
        k = self.s_NK.shape[1]
        return self.unwhiten(torch.eye(k, dtype=self.s_NK.dtype, device=self.s_NK.device))

    def whiten(self, a_XN: Tensor) -> Tensor:
        """a S, (X, K)."""
        return a_XN if self.method == "plain" else a_XN @ self.s_NK

    def unwhiten(self, a_XK: Tensor) -> Tensor:
        """a S^+, (X, N)."""
        if self.method == "plain":
            return a_XK
        if self.method == "cholesky":
            solved_XN: Tensor = torch.linalg.solve_triangular(self.s_NK, a_XK, upper=False, left=False)
            return solved_XN
        return (a_XK / self.s_NK.square().sum(0)) @ self.s_NK.T  # columns of S are orthogonal, of length sqrt(lambda)

    def solve(self, b_NX: Tensor) -> Tensor:
        """G^+ b, (N, X)."""
        if self.method == "plain":
            return b_NX
        if self.method == "cholesky":
            return torch.cholesky_solve(b_NX, self.s_NK)
        scaled_NK = self.s_NK / self.s_NK.square().sum(0)
        return scaled_NK @ (scaled_NK.T @ b_NX)


def plain(n: int) -> Whitening:
    """The whitening of plain SVD: none. Errors are then those of the weights, whatever the inputs."""
    return Whitening(s_NK=torch.eye(n, dtype=torch.float64), method="plain")


def whiten(gram: Gram) -> Whitening:
    """The square root of ``gram``: Cholesky, or the eigenvalues above `Gram.tolerance` where it is singular (logged).

    No jitter is added: a singular Gram matrix (fewer tokens than inputs, dead features) keeps its exact loss.

    Raises:
        InputError: if the Gram matrix has no token.
    """
    return _root(gram.matrix_NN, gram.tolerance)


@dataclass(frozen=True, kw_only=True, eq=False)
class Factors:
    """W ~ u^T v, stored row = component, so the first h rows of both are the rank-h factors (nested members).

    Attributes:
        u_HM: H x M.
        v_HN: H x N.
        sigma_R: all singular values of W S, descending, float64, padded with zeros to R = min(M, N).
    """

    u_HM: Tensor
    v_HN: Tensor
    sigma_R: Tensor

    @property
    def rank(self) -> int:
        """H."""
        return len(self.u_HM)

    def first(self, h: int) -> "Factors":
        """The first ``h`` components, sharing memory. Raises InputError outside 1..H."""
        if not 1 <= h <= self.rank:
            raise InputError(f"rank {h} is not available; choose from 1 to {self.rank}, or factor with a higher rank.")
        return Factors(u_HM=self.u_HM[:h], v_HN=self.v_HN[:h], sigma_R=self.sigma_R)

    def loss(self, h: int | None = None) -> float:
        """||W X - u^T v X||_F^2 with the first ``h`` components (all H if None; 0 is the loss of a zero matrix)."""
        return float(self.sigma_R[self.rank if h is None else h :].square().sum())

    def product(self) -> Tensor:
        """u^T v, (M, N)."""
        return self.u_HM.T @ self.v_HN

    def to(self, dtype: torch.dtype) -> "Factors":
        """The same in ``dtype``; the singular values stay float64."""
        return Factors(u_HM=self.u_HM.to(dtype), v_HN=self.v_HN.to(dtype), sigma_R=self.sigma_R)


@torch.no_grad()
def factor(weight_MN: Tensor, whitening: Whitening, rank: int | None = None) -> Factors:
    """The best rank-``rank`` factors of a weight of any shape (keys and values of grouped attention as they are).

    A smaller rank gives exactly the first rows of a larger one. With rank above K the calibration inputs are exhausted:
    the components that follow are those of a plain SVD of what is left, so they cost nothing on the calibration inputs
    and serve inputs outside their span.

    Args:
        weight_MN: float of any width, finite.
        whitening: of this linear's inputs; `plain` for plain SVD.
        rank: 1..min(M, N); all of them if None.

    Raises:
        InputError: at a weight that is not finite, another width than the whitening's, or a rank outside 1..min(M, N).
    """
    weight_MN = _weight(weight_MN, whitening)
    full = min(weight_MN.shape)
    rank = full if rank is None else rank
    if not 1 <= rank <= full:
        m, n = weight_MN.shape
        raise InputError(f"rank {rank} is not possible for a {m} x {n} matrix; choose from 1 to {full}.")
    u_RM, v_RN, sigma_R = _components(weight_MN, whitening)
    if rank > len(u_RM):
        rest = factor(weight_MN - u_RM.T @ v_RN, plain(weight_MN.shape[1]), rank - len(u_RM))
        u_RM, v_RN = torch.cat([u_RM, rest.u_HM]), torch.cat([v_RN, rest.v_HN])
    sigma_R = torch.nn.functional.pad(sigma_R, (0, full - len(sigma_R)))
    return Factors(u_HM=u_RM[:rank].clone(), v_HN=v_RN[:rank].clone(), sigma_R=sigma_R)


def components(weight_MN: Tensor, whitening: Whitening, rank: int, count: int) -> list[Factors]:
    """The ``count`` components of rank ``rank`` of untrained HPCD: each the whitened SVD of what the former leave.

    Without training between them that is one SVD cut into slices (AI Flow, section III-B1); after training component
    k, call `factor` on the residual instead. ``sigma_R`` of component k is the spectrum of its own residual.

    Raises:
        InputError: as `factor`, and if rank * count exceeds min(M, N).
    """
    if count < 1:
        raise InputError(f"{count} components are not possible; ask for at least 1.")
    whole = factor(weight_MN, whitening, rank * count)
    cut = []
    for start in range(0, rank * count, rank):
        rows = slice(start, start + rank)
        sigma_R = torch.nn.functional.pad(whole.sigma_R[start:], (0, start))
        cut.append(Factors(u_HM=whole.u_HM[rows], v_HN=whole.v_HN[rows], sigma_R=sigma_R))
    return cut


class Refit:
    """Closed-form refit of u for given v: least squares from inputs x to the original outputs y, streamed.

    With z = v x, minimises sum ||y - u^T z||^2. Serves the sequential update, where x comes from compressed blocks and
    y = W x' from the original ones. One pass serves any v.
    """

    def __init__(self, n: int, m: int, device: torch.device | str = "cpu") -> None:
        self.gram = Gram(n, device=device)
        self.cross_NM = torch.zeros(n, m, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, x_TN: Tensor, y_TM: Tensor, mask_T: Tensor | None = None) -> None:
        """Adds inputs and the outputs wanted for them (without bias). Raises InputError as `Gram.add`."""
        x_TN = _tokens(x_TN, self.gram.n, mask_T)
        y_TM = _tokens(y_TM, self.cross_NM.shape[1], mask_T)
        if len(x_TN) != len(y_TM):
            raise InputError(f"{len(x_TN)} inputs do not pair with {len(y_TM)} outputs; pass the same tokens.")
        self.gram.add(x_TN)
        self.cross_NM += (x_TN.double().T @ y_TM.double()).to(self.cross_NM.device)

    @torch.no_grad()
    def solve(self, v_HN: Tensor, ridge: float = 0.0) -> Tensor:
        """u_HM in float64. ``ridge`` is a share of the mean of z^2; of several optima the smallest u is returned.

        Raises:
            InputError: if no token was added or ``ridge`` is negative.
        """
        if ridge < 0:
            raise InputError(f"ridge={ridge} is negative; give 0 or a small share such as 1e-6.")
        v_HN = v_HN.to(self.cross_NM)
        inner_HH = v_HN @ self.gram.matrix_NN @ v_HN.T
        inner_HH += torch.eye(len(v_HN)).to(inner_HH) * ridge * inner_HH.diagonal().mean()
        return _root(inner_HH, self.gram.tolerance).solve(v_HN @ self.cross_NM)


def _root(gram_NN: Tensor, tolerance: float) -> Whitening:
    """S with S S^T = G. Cholesky factors a copy: a failed one may leave rubbish in its input."""
    s_NN, info = torch.linalg.cholesky_ex(gram_NN.clone())
    floor = tolerance * gram_NN.diagonal().max()
    smallest = s_NN.diagonal().square().min()
    if int(info) == 0 and bool(smallest > floor):  # a pivot that is rounding error is no success
        return Whitening(s_NK=s_NN, method="cholesky")
    lambda_N, q_NN = torch.linalg.eigh(gram_NN)
    keep_N = lambda_N > tolerance * lambda_N[-1].clamp(min=0)
    _log.warning(
        "singular Gram matrix: no Cholesky factor, eigenvalues used; rank %d of %d", int(keep_N.sum()), len(keep_N)
    )
    return Whitening(s_NK=q_NN[:, keep_N] * lambda_N[keep_N].sqrt(), method="eigen")


def _components(weight_MN: Tensor, whitening: Whitening) -> tuple[Tensor, Tensor, Tensor]:
    """All min(M, K) components u, v and sigma of W S."""
    u_MR, sigma_R, vt_RK = torch.linalg.svd(whitening.whiten(weight_MN), full_matrices=False)
    root_R1 = sigma_R.sqrt()[:, None]
    return root_R1 * u_MR.T, whitening.unwhiten(root_R1 * vt_RK), sigma_R


def _weight(weight_MN: Tensor, whitening: Whitening) -> Tensor:
    if weight_MN.ndim != 2 or weight_MN.shape[1] != len(whitening.s_NK):
        shape = tuple(weight_MN.shape)
        raise InputError(f"a weight of shape {shape} does not fit a whitening of {len(whitening.s_NK)} inputs.")
    weight_MN = weight_MN.detach().to(whitening.s_NK)
    if not bool(weight_MN.isfinite().all()):
        raise InputError("the weight holds values that are not finite; load the checkpoint again or repair it.")
    return weight_MN


def _tokens(x_TN: Tensor, n: int, mask_T: Tensor | None) -> Tensor:
    """The rows that are no padding, checked."""
    if not x_TN.is_floating_point() or x_TN.shape[-1] != n:
        raise InputError(
            f"calibration values of shape {tuple(x_TN.shape)}, {x_TN.dtype}: expected floats of width {n}."
        )
    if mask_T is not None:
        if mask_T.shape != x_TN.shape[:-1]:
            raise InputError(f"a mask of shape {tuple(mask_T.shape)} does not cover values of {tuple(x_TN.shape)}.")
        x_TN = x_TN[mask_T.bool()]
    x_TN = x_TN.detach().reshape(-1, n)
    if not bool(x_TN.isfinite().all()):
        raise InputError("calibration values are not finite; run the model in float32 or leave that sample out.")
    return x_TN
