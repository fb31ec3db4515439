"""What a collaborative decoding tells its asker. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiflow.types import Answer


@dataclass(frozen=True, kw_only=True)
class Provisional:
    """Text that may still change: what agent ``tier`` proposes from token ``place`` of the answer on.

    It replaces all provisional text from that place on; the next ``Final`` or ``Provisional`` replaces it.
    """

    text: str
    place: int
    tier: str


@dataclass(frozen=True, kw_only=True)
class Final:
    """The next piece of the answer. Pieces never change, and concatenate to the answer's text."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Committed:
    """The tokens ``start`` to ``stop`` - 1 of the answer are what ``agent`` alone would have said there."""

    start: int
    stop: int
    agent: str


@dataclass(frozen=True, kw_only=True)
class Decoded(Answer):
    """An answer that several agents decoded together.

    Attributes:
        committed_by: who stands for which tokens; one entry unless a judge was lost for good.
        accepted: drafts of the device that the judge above it accepted, of ``judged``.
        judged: drafts that it read.
        rounds: passes in which each agent read this session, by name.
        rebuilt: judges that died and were opened anew.
    """

    committed_by: tuple[Committed, ...] = ()
    accepted: int = 0
    judged: int = 0
    rounds: Mapping[str, int] = field(default_factory=dict)
    rebuilt: int = 0


Event = Provisional | Final | Decoded
