"""What the nano suite runs, phase by phase: alone, collaboration, Self-MoA, and fewer agents. Scores nothing itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aiflow.bench import runner
from aiflow.bench.cache import AskCache
from aiflow.bench.log import RunLog
from aiflow.bench.nano.team import Team
from aiflow.bench.progress import Progress
from aiflow.bench.results import circular, scores
from aiflow.bench.self_moa import SelfMoA
from aiflow.bench.stats import Floats, percentile
from aiflow.bench.subjects import GREEDY, Alone, Collaboration, Pieces
from aiflow.bench.suite import Record, Subject, Suite

MERGED = "merged"
SELECT = 2
IDLE = 6  # questions of the latency phase
Subset = frozenset[str]


@dataclass
class Run:
    """Asks the team phase by phase and keeps what came back, in the order of the suite's samples."""

    suite: Suite
    team: Team
    seed: int = 0
    merge: str = "rank"
    parallel: int = 32
    quiet: bool = False
    log: RunLog | None = None
    records: dict[str, list[Record]] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)
    subsets: dict[Subset, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.subjects: list[Subject] = []
        self.server = AskCache(self.team.server, serve=False)
        self.devices = [AskCache(device, serve=False) for device in self.team.devices]

    @property
    def names(self) -> tuple[str, ...]:
        """The devices', in the order in which the curve adds them."""
        return tuple(device.name for device in self.devices)

    @property
    def best(self) -> str:
        """The device with the highest score alone; the earlier one of equals."""
        return max(self.names, key=lambda name: float(scores(self.records[name]).mean()))

    async def alone(self) -> None:
        """Every device by itself, where it is."""
        await self._phase("alone", [Alone(device, GREEDY) for device in self.devices])

    async def together(self) -> None:
        """The four-step collaboration; every device answers and revises, the selected ones are merged."""
        await self._phase("collaboration", [Collaboration(MERGED, self._graph())])

    async def self_moa(self) -> None:
        """The best device, sampled; its samples are merged as ``SelfMoA`` says."""
        best = next(device for device in self.devices if device.name == self.best)
        moa = SelfMoA(agent=best, server=self.server, seed=self.seed, options=GREEDY, how=self.merge)
        await self._phase("Self-MoA", [moa])

    async def latency(self) -> None:
        """A few questions again, one at a time: what a person waits when nobody else asks."""
        few = replace(self.suite, samples=self.suite.samples[:IDLE])
        total = len(self.subjects) * len(few.samples)
        with Progress("latency", total, unit=self.suite.unit, quiet=self.quiet) as progress:
            for subject in self.subjects:
                found = await runner.run(few, [subject], parallel=1, watch=progress.advance)
                turns = [turn for record in found[subject.name] for turn in record.turns if not turn.error]
                self.waits[subject.name] = percentile([turn.seconds for turn in turns], 50)

    async def fewer(self) -> None:
        """The merged answer with each circular run of 1..n-1 devices; no question is asked of a model twice.

        Runs of one are the "only" half of the ablation, runs of n-1 the "without" half, and each size averages over
        orders in which every device comes first once.
        """
        self.server.serve = True
        for device in self.devices:
            device.serve = True
        parts: dict[Subset, Pieces] = {}
        for size in range(1, len(self.devices)):
            for members in circular(self.names, size):
                chosen = [device for device in self.devices if device.name in members]
                count, name = min(SELECT, size), "+".join(members)
                parts[frozenset(members)] = Pieces(
                    name=name,
                    server=self.server,
                    devices=chosen,
                    select=count,
                    merge=self.merge,
                    options=GREEDY,
                )
        found = await self._ask("fewer agents", list(parts.values()))
        self.subsets = {subset: scores(found[part.name]) for subset, part in parts.items()}
        self.subsets[frozenset(self.names)] = scores(self.records[MERGED])

    def _graph(self) -> Any:
        from aiflow.graphs import device_server

        count = min(SELECT, len(self.devices))
        how: Any = self.merge
        return device_server(self.server, self.devices, select=count, merge=how, revise="all", options=GREEDY)

    async def _phase(self, title: str, subjects: Sequence[Subject]) -> None:
        found = await self._ask(title, subjects)
        self.records |= found
        self.subjects += subjects
        for record in [record for row in found.values() for record in row] if self.log else []:
            assert self.log
            self.log.append(record)

    async def _ask(self, title: str, subjects: Sequence[Subject]) -> dict[str, list[Record]]:
        total = len(subjects) * len(self.suite.samples)
        with Progress(title, total, unit=self.suite.unit, quiet=self.quiet) as progress:
            return await runner.run(self.suite, subjects, parallel=self.parallel, watch=progress.advance)
