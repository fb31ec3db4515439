"""The last hidden states of a conversation, up to a number of bytes. Legend: N tokens, D model size."""

from collections import deque

import torch
from torch import Tensor


class Ring:
    """Rows of the places ``start``, ..., ``end`` - 1; beyond ``budget`` bytes the oldest go."""

    def __init__(self, budget: int) -> None:
        self.budget, self.start = budget, 0
        self._rows: deque[Tensor] = deque()

    @property
    def end(self) -> int:
        """The place after the last one."""
        return self.start + len(self._rows)

    @property
    def nbytes(self) -> int:
        """Bytes kept."""
        return len(self._rows) * self._rows[0].nbytes if self._rows else 0

    def add(self, h_ND: Tensor) -> None:
        """Appends the next places."""
        self._rows.extend(row.clone() for row in h_ND)  # a row of a view would keep all of it
        while self.nbytes > self.budget:
            self._rows.popleft()
            self.start += 1

    def get(self, begin: int, end: int) -> Tensor:
        """The rows (N, D) of the places ``begin`` to ``end`` - 1, which must be there."""
        return torch.stack([self._rows[p - self.start] for p in range(begin, end)])

    def crop(self, length: int) -> None:
        """Forgets the places from ``length`` on."""
        while self._rows and self.end > length:
            self._rows.pop()
        self.start = min(self.start, length)
