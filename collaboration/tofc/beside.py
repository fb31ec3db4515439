"""A compressor beside its model: what it changes of the model is copied, the rest is shared, the model stays as it is.

A device needs the vision tower once more, a server the projector and the language model's linears; see `halves`.
"""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiflow.collaboration.tofc.adapters import adapter
from aiflow.collaboration.tofc.files import adapted, load, opened

if TYPE_CHECKING:
    from aiflow.collaboration.tofc.model import Compressor


def beside(folder: Path | str, half: Any) -> "Compressor":
    """Reads the compressor in ``folder`` for a model or a half of it.

    Raises:
        UnsupportedModelError: for a model without an adapter class.
        WeightsError: if there is no compressor, or it was made for another model.
    """
    parts = adapter(half).parts
    _, reader = opened(folder, half)
    modules = dict(half.named_modules())
    changed = [parts.projector, *(modules[path] for path in adapted(reader, half) if path in modules)]
    own = {id(weight) for module in changed for weight in module.parameters()}
    shared = {id(t): t for t in (*half.parameters(), *half.buffers()) if id(t) not in own}
    return load(folder, copy.deepcopy(half, shared))
