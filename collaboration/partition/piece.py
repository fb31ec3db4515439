"""A contiguous part of a decoder in memory: some blocks, the embeddings before the first, the head after the last."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiflow.collaboration.familial.kinds import Parts


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """Blocks ``begin`` .. ``end`` - 1 of a model of ``depth``.

    Attributes:
        own: the model's config and rotary angles, as `familial.running.step` wants them.
        blocks: decoder layers by their index in the model.
        embed: token embeddings, of the first piece.
        norm, head: final norm and LM head, of the last piece.
        model: the fingerprint of the whole model.
        vocabulary, width, dtype: of the model.
    """

    begin: int
    end: int
    depth: int
    own: Parts
    blocks: Mapping[int, Any]
    embed: Any = None
    norm: Any = None
    head: Any = None
    model: str = ""
    vocabulary: int = 0
    width: int = 0
    dtype: str = "float32"

    @property
    def first(self) -> bool:
        """Whether it reads token ids."""
        return self.begin == 0

    @property
    def last(self) -> bool:
        """Whether it chooses tokens."""
        return self.end == self.depth

    def within(self, begin: int, end: int) -> "Piece":
        """What of it is in the blocks ``begin`` .. ``end`` - 1 too; the rest is let go of."""
        return replace(
            self,
            blocks={index: block for index, block in self.blocks.items() if begin <= index < end},
            embed=self.embed if begin == 0 else None,
            norm=self.norm if end == self.depth else None,
            head=self.head if end == self.depth else None,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of memory of its weights, shared ones once."""
        return held(filter(None, (*self.blocks.values(), self.embed, self.norm, self.head)))


def held(modules: Iterable[Any]) -> int:
    """Bytes of the storages behind the modules' tensors, each once; what a view keeps alive counts whole."""
    found = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())
