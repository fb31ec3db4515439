"""Where to cut a model: which node holds which blocks, and in which order, so that a token takes the least time.

Exact up to ``EXACT`` nodes by dynamic programming over the set of nodes that are used, the last of them, and the blocks
that are placed; beyond that the nodes keep the order in which they are given. Memory is a limit, never traded. A node
may get nothing. Pure arithmetic: bytes and seconds come in as numbers, whoever measured them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiflow.errors import BudgetError, InputError
from aiflow.units import show_bytes

EXACT = 10
"""Nodes up to which every order and every subset is considered."""
ASKER = ""
"""The name of the asker's node among the ends of links."""
SMALL = 120
"""Bytes of a message without its payload."""
_STAGE = 1e-9  # seconds: among equals, fewer stages

Links = Callable[[str, str, int], float]
"""Seconds of a message of so many bytes from one node to another; ``ASKER`` for the asker's."""
Grid = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """A model, in bytes as its nodes compute with it.

    Attributes:
        blocks: weights of each block.
        embed: of the input embeddings (first stage).
        norm, head: of the final norm and the LM head (last stage).
        tied: whether the head's matrix is the embeddings', so that one stage with both has it once.
        cache: of a token's keys and values, per block.
        activation: of a token's hidden states.
    """

    blocks: tuple[float, ...]
    embed: float
    norm: float
    head: float
    tied: bool
    cache: float
    activation: int

    @property
    def depth(self) -> int:
        """Blocks."""
        return len(self.blocks)

    @property
    def whole(self) -> float:
        """Bytes of all weights on one node."""
        return sum(self.blocks) + self.embed + self.norm + (0.0 if self.tied else self.head)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A node that may take blocks.

    ``memory``: bytes for weights and caches (None: enough). ``decode``: seconds of a block for one token; ``prefill``:
    of a block for each token of a prompt; ``head``: of the LM head for a token.
    """

    name: str
    memory: float | None = None
    decode: float = 0.0
    prefill: float = 0.0
    head: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a cut is for: requests of ``prompt`` and ``answer`` tokens; caches are to hold ``cached`` tokens in all."""

    prompt: int = 0
    answer: int = 64
    cached: int = 0


@dataclass(frozen=True, kw_only=True)
class Share:
    """A stage: blocks ``begin`` .. ``end`` - 1 on a node.

    ``nbytes``: weights and room for caches; ``seconds``: it computes per token; ``link``: of what comes to it.
    """

    name: str
    begin: int
    end: int
    nbytes: float
    seconds: float
    link: float


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Stages in their order. ``seconds``: per token of an answer, prompt and all links included."""

    shares: tuple[Share, ...]
    seconds: float

    @property
    def ranges(self) -> dict[str, tuple[int, int]]:
        """(begin, end) by node."""
        return {share.name: (share.begin, share.end) for share in self.shares}

    def table(self) -> str:
        """It, for people."""
        wide = max(4, *(len(share.name) for share in self.shares))
        lines = [f"{'node':<{wide}}  blocks    bytes     compute/token  link/token"]
        for share in self.shares:
            blocks = f"{share.begin}..{share.end - 1}"
            cost = f"{share.seconds * 1e3:10.2f} ms  {share.link * 1e3:7.2f} ms"
            lines.append(f"{share.name:<{wide}}  {blocks:<8}  {show_bytes(share.nbytes):<8}  {cost}")
        return "\n".join([*lines, f"{self.seconds * 1e3:.2f} ms per token"])


def cut(sizes: Sizes, sites: Sequence[Site], links: Links, task: Task | None = None) -> Cut:
    """The contiguous partition of least time per token in which everything fits.

    Raises:
        BudgetError: if nothing fits; says what is too large, and by how much.
        InputError: for no nodes, two of one name, or a model without blocks.
    """
    task = task or Task()
    if not sites or len({site.name for site in sites}) < len(sites) or not sizes.blocks or task.answer < 1:
        raise InputError(f"{len(sites)} nodes of {sizes.depth} blocks: give nodes of different names, and a model.")
    grids = [_Grid(sizes, site, task) for site in sites]
    found = _search(sizes, sites, grids, lambda a, b: _hop(sizes, links, task, a, b))
    if found is None:
        raise BudgetError(_refusal(sizes, sites, task))
    return _explained(found[1], found[0], sizes, sites, links, task)


def needs(sizes: Sizes, begin: int, end: int, cached: int) -> float:
    """Bytes of a stage: weights, and caches of ``cached`` tokens."""
    own = sum(sizes.blocks[begin:end]) + sizes.cache * cached * (end - begin)
    own += sizes.embed if begin == 0 else 0.0
    if end == sizes.depth:
        own += sizes.norm + (0.0 if sizes.tied and begin == 0 else sizes.head)
    return own


class _Grid:
    """Seconds per token of every range [begin, end) on one node; infinite where it does not fit."""

    def __init__(self, sizes: Sizes, site: Site, task: Task) -> None:
        depth = sizes.depth
        begin, end = np.mgrid[0 : depth + 1, 0 : depth + 1]
        each = site.decode + site.prefill * task.prompt / task.answer
        self.seconds: Grid = np.where(end > begin, (end - begin) * each + _STAGE, np.inf)
        self.seconds[:, depth] += site.head
        if site.memory is not None:
            sums = np.concatenate([[0.0], np.cumsum(np.asarray(sizes.blocks) + sizes.cache * task.cached)])
            nbytes = sums[end] - sums[begin] + np.where(begin == 0, sizes.embed, 0.0)
            twice = (begin == 0) if sizes.tied else np.zeros_like(begin, dtype=bool)
            nbytes = nbytes + np.where(end == depth, sizes.norm + np.where(twice, 0.0, sizes.head), 0.0)
            self.seconds[nbytes > site.memory] = np.inf


def _hop(sizes: Sizes, links: Links, task: Task, a: str, b: str) -> float:
    """Seconds per token of an answer between two stages; tokens' ids from and to the asker are small."""
    if ASKER in (a, b):
        prompt = links(a, b, SMALL + 4 * task.prompt) if a == ASKER and task.prompt else 0.0
        return links(a, b, SMALL) + prompt / task.answer
    prompt = links(a, b, SMALL + sizes.activation * task.prompt) if task.prompt else 0.0
    return links(a, b, SMALL + sizes.activation) + prompt / task.answer


_Stop = tuple[int, int]  # the set of nodes that are used, and the last of them
_Back = tuple[_Stop | None, int]  # the stop before, and the first block of this one


def _search(
    sizes: Sizes, sites: Sequence[Site], grids: Sequence[_Grid], hop: Callable[[str, str], float]
) -> tuple[float, list[tuple[int, int, int]]] | None:
    """(seconds, [(node, begin, end)]), or None."""
    depth, exact, names = sizes.depth, len(sites) <= EXACT, [site.name for site in sites]
    hops = {(a, b): hop(a, b) for a in (ASKER, *names) for b in (*names, ASKER) if a != b}
    best: dict[_Stop, Grid] = {}
    back: dict[_Stop, list[_Back]] = {}

    def extend(before: _Stop | None, reached: Grid, index: int, wait: float) -> None:
        used = before[0] if before else 0
        stop = (used | 1 << index if exact else (2 << index) - 1), index
        through = reached[:, None] + grids[index].seconds + wait
        begins = through.argmin(0)
        seconds = through[begins, np.arange(depth + 1)]
        known = best.setdefault(stop, np.full(depth + 1, np.inf))
        backs = back.setdefault(stop, [(None, 0)] * (depth + 1))
        for end in np.flatnonzero(seconds < known):
            known[end], backs[end] = seconds[end], (before, int(begins[end]))

    start = np.full(depth + 1, np.inf)
    start[0] = 0.0
    for index, name in enumerate(names):
        extend(None, start, index, hops[ASKER, name])
    for used in range(1, 1 << len(names)) if exact else [(2 << i) - 1 for i in range(len(names))]:
        for last in range(len(names)):
            if (used, last) not in best:
                continue
            for index, name in enumerate(names):
                if not used >> index & 1:
                    extend((used, last), best[used, last], index, hops[names[last], name])
    ends = [(float(reached[depth]) + hops[names[stop[1]], ASKER], stop) for stop, reached in best.items()]
    seconds, stop = min(ends)
    return None if seconds == float("inf") else (seconds, _path(back, stop, depth))


def _path(back: dict[_Stop, list[_Back]], stop: _Stop | None, end: int) -> list[tuple[int, int, int]]:
    found = []
    while stop is not None:
        before, begin = back[stop][end]
        found.append((stop[1], begin, end))
        stop, end = before, begin
    return found[::-1]


def _explained(
    path: Sequence[tuple[int, int, int]],
    seconds: float,
    sizes: Sizes,
    sites: Sequence[Site],
    links: Links,
    task: Task,
) -> Cut:
    shares, before = [], ASKER
    for index, begin, end in path:
        site = sites[index]
        compute = (end - begin) * (site.decode + site.prefill * task.prompt / task.answer)
        shares.append(
            Share(
                name=site.name,
                begin=begin,
                end=end,
                nbytes=needs(sizes, begin, end, task.cached),
                seconds=compute + (site.head if end == sizes.depth else 0.0),
                link=_hop(sizes, links, task, before, site.name),
            )
        )
        before = site.name
    return Cut(shares=tuple(shares), seconds=seconds - _STAGE * len(shares))


def _refusal(sizes: Sizes, sites: Sequence[Site], task: Task) -> str:
    """Why nothing fits."""
    rooms = {site.name: float("inf") if site.memory is None else site.memory for site in sites}
    there = sum(rooms.values())
    each = [nbytes + sizes.cache * task.cached for nbytes in sizes.blocks]
    whole = sizes.whole + sum(each) - sum(sizes.blocks)
    nodes = ", ".join(f"{name} {show_bytes(room)}" for name, room in rooms.items())
    remedy = "add a node or memory, hold fewer tokens in caches, or use a smaller model or dtype."
    if whole > there:
        return (
            f"the model needs {show_bytes(whole)} with caches of {task.cached} tokens, and its nodes have "
            f"{show_bytes(there)} ({nodes}): {show_bytes(whole - there)} too little; {remedy}"
        )
    largest = max(rooms, key=lambda name: rooms[name])
    ends = {
        "the embeddings and the first block": sizes.embed + each[0],
        "the last block and the head": sizes.norm + sizes.head + each[-1],
        "a block": max(each),
    }
    what = max(ends, key=lambda name: ends[name])
    if ends[what] > rooms[largest]:
        return (
            f"{what} need {show_bytes(ends[what])} on one node, and the largest, {largest!r}, has "
            f"{show_bytes(rooms[largest])}: {show_bytes(ends[what] - rooms[largest])} too little; {remedy}"
        )
    return (
        f"the model needs {show_bytes(whole)} of {show_bytes(there)}, but no cut between its {sizes.depth} blocks "
        f"fits the nodes ({nodes}); {remedy}"
    )
