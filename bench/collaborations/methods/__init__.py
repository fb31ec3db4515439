"""Ways in which recorded agents can work together. Each learns from a development half and picks answers blindly."""

from aiflow.bench.collaborations.methods.cascade import Cascade
from aiflow.bench.collaborations.methods.central import Central
from aiflow.bench.collaborations.methods.picks import Fitted, Method, Picks
from aiflow.bench.collaborations.methods.ranking import Ranker, Referee
from aiflow.bench.collaborations.methods.routing import ByCategory, ByText, Single
from aiflow.bench.collaborations.methods.voting import Vote

CANDIDATES: tuple[Method, ...] = (
    Single(),
    ByCategory(10),
    ByCategory(100),
    ByText(3),
    ByText(30),
    Vote(),
    Vote("accuracy"),
    Vote("log-odds"),
    Vote("log-odds", 30),
    Cascade(),
    Central(),
    *(Ranker(c, text) for text in (False, True) for c in (0.03, 0.1, 0.3)),
    Referee(0.01),
    Referee(0.1),
)
"""All that are tried on every development half, the same for every board; the first is no collaboration."""

__all__ = [
    "CANDIDATES",
    "ByCategory",
    "ByText",
    "Cascade",
    "Central",
    "Fitted",
    "Method",
    "Picks",
    "Ranker",
    "Referee",
    "Single",
    "Vote",
]
