"""Keys and values of the running batch: rows of different lengths side by side, nothing moved from step to step.

Row b holds its tokens at times 0..length_b-1 of one buffer per layer, so a step writes one column per row in place,
a newcomer is copied in once, and a leaver's row is taken by the last row. Attention masks hide what lies beyond a
row's length.

B: rows that buffers have room for; N: rows in use; T: times; K: key/value heads; D: head size.
"""

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

_CHUNK = 64  # buffers grow in time by at least this many tokens


class Rows:
    """Which rows are in use and how long each is; shared by the layers."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.longest = 0  # as of ``freeze``
        self.index_N = torch.empty(0, dtype=torch.long)
        self.length_N = torch.empty(0, dtype=torch.long)

    def freeze(self, device: torch.device) -> None:
        """Takes the lengths over into tensors, for the next step."""
        self.longest = max(self.lengths)
        self.index_N = torch.arange(len(self.lengths), device=device)
        self.length_N = torch.tensor(self.lengths, device=device)


class RaggedLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's buffers, in the form of a transformers cache layer for steps of one token per row."""

    def __init__(self, rows: Rows, keys_BKTD: torch.Tensor, values_BKTD: torch.Tensor) -> None:
        super().__init__()
        self.rows = rows
        self.is_initialized = True
        self.keys, self.values = keys_BKTD, values_BKTD

    def update(
        self, k_NK1D: torch.Tensor, v_NK1D: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes each row's token at the row's own end; returns the used part of the buffers (views)."""
        rows = self.rows
        self.keys[rows.index_N, :, rows.length_N] = k_NK1D[:, :, 0]
        self.values[rows.index_N, :, rows.length_N] = v_NK1D[:, :, 0]
        count, end = len(rows.lengths), rows.longest + 1
        return self.keys[:count, :, :end], self.values[:count, :, :end]

    def get_seq_length(self) -> int:
        """Tokens of the longest row."""
        return self.rows.longest

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(length of keys after the step, offset 0)."""
        return self.rows.longest + query_length, 0

    def resize(self, rows: int, times: int) -> None:
        """Gives the buffers room for ``rows`` x ``times``, keeping what they hold."""
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros(rows, old.shape[1], times, old.shape[3])
            new[: old.shape[0], :, : old.shape[2]] = old
            setattr(self, name, new)


class RaggedCache(DynamicCache):  # type: ignore[misc]
    """The running batch's cache. Rows are appended by ``join`` and removed by ``leave``."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[RaggedLayer] = []
        self.rows = Rows()

    def join(self, fresh: DynamicCache, rows: list[tuple[int, int]]) -> None:
        """Appends rows of a left-padded prefill: (i, length) copies the last ``length`` tokens of its row i."""
        if not rows:
            return
        if not self.layers:
            self.layers = [
                RaggedLayer(self.rows, layer.keys[:0, :, :0], layer.values[:0, :, :0]) for layer in fresh.layers
            ]
        start = len(self.rows.lengths)
        self.rows.lengths += [length for _, length in rows]
        self._reserve()
        for layer, new in zip(self.layers, fresh.layers, strict=True):
            for row, (i, length) in enumerate(rows, start):
                layer.keys[row, :, :length] = new.keys[i, :, -length:]
                layer.values[row, :, :length] = new.values[i, :, -length:]

    def open(self) -> torch.Tensor:
        """Prepares a step: room for one more token in every row. Returns the lengths (N,) before it."""
        self._reserve()
        self.rows.freeze(self.layers[0].keys.device)
        return self.rows.length_N

    def commit(self) -> None:
        """Counts the tokens that the step wrote."""
        self.rows.lengths = [length + 1 for length in self.rows.lengths]

    def _reserve(self) -> None:
        rows, times = self.layers[0].keys.shape[0], self.layers[0].keys.shape[2]
        need_rows, need_times = len(self.rows.lengths), max(self.rows.lengths) + 1
        if need_rows <= rows and need_times <= times:
            return
        rows = rows if need_rows <= rows else max(need_rows, 2 * rows)
        times = times if need_times <= times else (need_times // _CHUNK + 2) * _CHUNK
        for layer in self.layers:
            layer.resize(rows, times)

    def leave(self, row: int) -> None:
        """Frees ``row``: the last row moves there."""
        last, length = len(self.rows.lengths) - 1, self.rows.lengths[-1]
        if row != last:
            for layer in self.layers:
                layer.keys[row, :, :length] = layer.keys[last, :, :length]
                layer.values[row, :, :length] = layer.values[last, :, :length]
        self.rows.lengths[row] = length
        self.rows.lengths.pop()
