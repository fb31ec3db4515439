"""What a graph needs of an agent, and what an agent needs of a model. Protocols only: no Ray, no torch."""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from aiflow.types import Answer, Delta, Message, Options

if TYPE_CHECKING:
    from aiflow.agents.decoding.speaker import Speaker


class Backend(Protocol):
    """A model that answers: ``transformers``, ``openai``, ``replay`` or ``scripted``. Lives beside the weights."""

    def stream(self, messages: Sequence[Message], options: Options) -> AsyncIterator[Delta | Answer]:
        """Yields the text in pieces, then one Answer with the whole text, the finish reason and the usage.

        Serves concurrent calls; closing the iterator cancels the generation. Raises a BackendError or a UsageError.
        """

    async def close(self) -> None:
        """Frees what the model holds."""


class Speaks(Protocol):
    """A back end whose model can take part in collaborative decoding."""

    def speaker(self) -> "Speaker":
        """The model's logits and its tokenizer. Raises InputError for a model that cannot."""


class Part(Protocol):
    """A further ability of a worker, made of its back end and its clock at its first call: bytes in, bytes out."""

    async def call(self, payload: bytes) -> bytes:
        """The reply to a message. What it raises travels to the caller."""

    def close(self) -> None:
        """Frees what it holds."""


class Asks(Protocol):
    """An agent as graphs see it: a name, what it is good at, where it is, and two ways to ask it."""

    @property
    def name(self) -> str:
        """Unique in its deployment."""

    @property
    def about(self) -> str:
        """What it is good at, in words; the server selects by it."""

    @property
    def node(self) -> str:
        """The node of the topology that it runs on."""

    async def ask(
        self,
        messages: Any,
        *,
        sender: str | None = None,
        options: Options | None = None,
        deadline: float | None = None,
    ) -> Answer:
        """Asks from node ``sender`` (None: from the agent's own node, so nothing crosses a link).

        ``deadline`` is in seconds, links included. Raises AgentDiedError, DeadlineError, BackendError, UsageError.
        Cancelling the awaiting task cancels the generation.
        """

    def stream(
        self,
        messages: Any,
        *,
        sender: str | None = None,
        options: Options | None = None,
        deadline: float | None = None,
    ) -> AsyncIterator[Delta | Answer]:
        """Like ``ask``, in pieces: Deltas as they arrive at ``sender``, the Answer last."""
