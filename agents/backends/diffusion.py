"""The ``diffusion`` back end: one party of a diffusion collaboration, with the weights of that part only.

It answers no questions: the graphs `aiflow.graphs.serial`, ``parallel`` and ``networked`` ask it through the
worker's part `agents.diffusion.part`.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiflow.agents.diffusion.pace import Pace
from aiflow.agents.diffusion.parties import Loaded, load
from aiflow.errors import InputError
from aiflow.types import Answer, Delta, Message, Options


class DiffusionBackend:
    """Holds the party of a model string such as ``aiflow:motion#ins``.

    ``device``: of torch. ``threads``: of torch, per call. ``pace``: see `agents.diffusion.pace.Pace`.
    Raises InputError, UnknownModelError, WeightsError.
    """

    def __init__(self, model: str, *, device: str = "cpu", threads: int = 1, pace: Any = None) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise InputError(f"threads={threads!r} is not usable; give an int >= 1.")
        self.threads, self.pace = threads, Pace(pace)
        self.loaded_party: Loaded = load(model, device)

    @classmethod
    def of(cls, loaded: Loaded, *, threads: int = 1, pace: Any = None) -> "DiffusionBackend":
        """Around a party that is there already."""
        made = cls.__new__(cls)
        made.threads, made.pace, made.loaded_party = threads, Pace(pace), loaded
        return made

    async def stream(self, messages: Sequence[Message], options: Options) -> AsyncIterator[Delta | Answer]:  # noqa: ARG002
        """Raises InputError: it knows no text."""
        system, role = self.loaded_party.system, self.loaded_party.role
        graph = {"motion": "serial", "depth": "parallel", "video": "networked"}.get(system)
        if graph is not None:
            raise InputError(
                f"this agent is the part {role!r} of a {system} model and answers no questions; "
                f"give it to aiflow.graphs.{graph}."
            )
        yield Answer(text="")  # what makes it a stream

    async def close(self) -> None:
        """Frees the weights."""
        del self.loaded_party
