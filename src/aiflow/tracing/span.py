"""What a span can do, and the one that does nothing."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, Self

Value = str | bool | int | float | tuple[str, ...]
_NOWHERE = nullcontext()


class Span(Protocol):
    """A part of a request's work. False if nothing is traced, so that what it would hold need not be found out."""

    def __bool__(self) -> bool:
        """Whether it is kept."""

    def __enter__(self) -> Self:
        """What begins now belongs to it."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Ends it, as failed if there is an error."""

    def under_way(self) -> AbstractContextManager[None]:
        """What begins inside belongs to it; it does not end there."""

    def rename(self, name: str) -> None:
        """Gives it the name that is known only later."""

    def set(self, values: Mapping[str, Value | None]) -> None:
        """Adds attributes; those that are None are left out."""

    def event(self, name: str, values: Mapping[str, Value] | None = None) -> None:
        """Notes that something happened just now."""

    def fail(self, kind: str, words: str = "") -> None:
        """Marks it as failed; ``words`` are kept only where prompts are."""

    def failed(self, error: BaseException) -> None:
        """Marks how it ended: failed, or cancelled."""

    def end(self) -> None:
        """Ends it, where it is not used in ``with``."""


class Nothing:
    """The span of all that is not traced."""

    def __bool__(self) -> bool:
        """Never kept."""
        return False

    def __enter__(self) -> Self:
        """Does nothing, as all else."""
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """."""

    def under_way(self) -> AbstractContextManager[None]:
        """."""
        return _NOWHERE

    def rename(self, name: str) -> None:
        """."""

    def set(self, values: Mapping[str, Value | None]) -> None:
        """."""

    def event(self, name: str, values: Mapping[str, Value] | None = None) -> None:
        """."""

    def fail(self, kind: str, words: str = "") -> None:
        """."""

    def failed(self, error: BaseException) -> None:
        """."""

    def end(self) -> None:
        """."""


NOTHING: Span = Nothing()
