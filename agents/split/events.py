"""What a split inference tells its asker, beside `Provisional` and `Final` text. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiflow.agents.decoding.events import Final, Provisional
from aiflow.types import Answer

__all__ = ["Event", "Final", "Provisional", "Split", "TakenBack"]


@dataclass(frozen=True, kw_only=True)
class TakenBack:
    """The server says something else from token ``place`` of the answer on: ``tokens`` provisional ones were wrong.

    What replaces them follows.
    """

    place: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Split(Answer):
    """An answer that a device and a server computed together.

    Attributes:
        tokens_by: tokens of the answer by the name of the agent that said them first.
        judged: whether all of it is the full model's; False where "best_effort" let the device's tokens stand.
        taken_back: tokens that the device had said and the server did not.
        transport: what travelled last: "activations" or "ids".
        rate: bytes/s of the link to the server, as measured.
        break_even: the rate from which on activations pay for this prompt.
        device_seconds: that the device computed.
        link_seconds: in which something was on its way between the two.
        server_seconds: that the server computed.
        outages: times that the server was not heard of.
    """

    tokens_by: Mapping[str, int] = field(default_factory=dict)
    judged: bool = True
    taken_back: int = 0
    transport: str = "activations"
    rate: float = 0.0
    break_even: float = 0.0
    device_seconds: float = 0.0
    link_seconds: float = 0.0
    server_seconds: float = 0.0
    outages: int = 0


Event = Provisional | Final | TakenBack | Split
