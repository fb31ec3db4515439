"""The ``blocks`` back end: an agent that holds no weights until it is told which blocks of a model to hold.

It answers nothing by itself; several of them together are an agent (`aiflow.agents.partition`).
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from aiflow.agents.partition.pace import Pace
from aiflow.errors import InputError
from aiflow.types import Answer, Delta, Message, Options
from aiflow.units import size


class BlocksBackend:
    """``model``: ``blocks:`` and a folder with a model, a family or a LoRA adapter, or ``aiflow:nano/<name>``.

    ``dtype``: float32, bfloat16, float16 or auto. ``threads``: CPU threads. ``memory``: bytes for weights and caches,
    or text such as "2 GB". ``max_context``: tokens of prompt and answer. ``pace``: seconds of one block for a pass and
    for each of its tokens, of an emulated node, which then takes at least as long.
    Raises UnknownModelError, UnsupportedModelError, WeightsError, InputError.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        threads: int = 1,
        memory: float | str | None = None,
        max_context: int | None = None,
        pace: Sequence[float] | None = None,
    ) -> None:
        from aiflow.agents.backends.transformers import loading
        from aiflow.collaboration.partition.weights import Checkpoint

        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise InputError(f"threads={threads!r} is not usable; give an int >= 1.")
        loading._check(device, dtype)
        folder, adapter = located(model)
        self.threads, self.pace = threads, Pace.of(pace)
        self.memory = None if memory is None else size(memory)
        self.checkpoint = Checkpoint(folder, adapter=adapter, dtype=dtype, device=device)
        self.context = loading._context(self.checkpoint.config, max_context)

    async def stream(self, messages: Sequence[Message], options: Options) -> AsyncIterator[Delta | Answer]:  # noqa: ARG002
        """Raises InputError: it has a part of a model at most."""
        if self.checkpoint.depth:
            raise InputError(
                "this agent holds some blocks of a model and answers nothing alone; "
                "ask aiflow.agents.partition.partitioned([...]) of several."
            )
        yield Answer(text="")  # what makes it a stream

    async def close(self) -> None:
        """Frees nothing: the weights are its part's."""


def located(model: str) -> tuple[Path, Path | None]:
    """The folders of the weights and of the adapter over them, if any. Raises UnknownModelError."""
    from aiflow.agents.backends.transformers import loading
    from aiflow.errors import UnknownModelError

    name = model.removeprefix("blocks:")
    found: Any = loading._resolve(name)
    if found[1] is not None and str(found[0]).startswith("aiflow:"):
        found = loading._resolve(found[0])[0], found[1]
    if not Path(found[0]).is_dir():
        raise UnknownModelError(
            f"model {model!r}: there is no folder {str(found[0])!r}; blocks are read from a folder with config.json "
            "and safetensors, or from aiflow:nano/<name>. Download a model first."
        )
    return Path(found[0]), None if found[1] is None else Path(found[1])
