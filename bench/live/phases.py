"""The phases of a live run: everybody alone, the collaboration, Self-MoA, fewer devices. Scores nothing itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiflow.bench import runner
from aiflow.bench.live import Live
from aiflow.bench.live.team import GRAPH, MERGED, SELF_MOA, Team
from aiflow.bench.log import RunLog
from aiflow.bench.progress import Progress
from aiflow.bench.results import circular
from aiflow.bench.self_moa import SelfMoA
from aiflow.bench.subjects import Alone, Collaboration, Recorded
from aiflow.bench.suite import Record, Subject, Suite
from aiflow.errors import QuorumError
from aiflow.types import Options

WRITING = Options(max_tokens=1024)
Subset = frozenset[str]


class Phases:
    """Asks the team and keeps what came back, in the order of the suite's samples."""

    def __init__(
        self,
        suite: Suite,
        team: Team,
        live: Live,
        *,
        log: RunLog,
        done: Mapping[tuple[str, str], Record],
        quiet: bool = False,
    ) -> None:
        self.suite, self.team, self.live, self.log, self.done, self.quiet = suite, team, live, log, done, quiet
        self.records: dict[str, list[Record]] = {}
        self.parts: dict[Subset, str] = {}

    @property
    def alone(self) -> tuple[str, ...]:
        """The names of the agents that were asked alone."""
        return (*self.devices, *self.live.recorded)

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of those that a server's graph asks."""
        return tuple(device.name for device in self.team.devices)

    @property
    def joint(self) -> tuple[str, ...]:
        """The names of the collaborations."""
        return tuple(name for name in (MERGED, GRAPH) if name in self.records)

    @property
    def best(self) -> str:
        """The agent with the highest score alone."""
        return max(self.alone, key=lambda name: mean(self.records[name]))

    async def run(self) -> None:
        """All phases that were asked for."""
        live, team = self.live, self.team
        said = [Recorded(name, answers) for name, answers in live.recorded.items()]
        await self._phase("alone", [*(Alone(device, WRITING, live.deadline) for device in team.devices), *said])
        if team.server:
            await self._phase("collaboration", [Collaboration(MERGED, self._graph(self.devices))])
        if team.graph is not None:
            await self._phase("graph", [Collaboration(GRAPH, team.graph)])
        if live.self_moa:
            best = max(team.devices, key=lambda device: mean(self.records[device.name]))
            moa = SelfMoA(agent=best, server=team.server or best, n=live.self_moa, seed=live.seed, options=WRITING)
            await self._phase(SELF_MOA, [moa])
        if live.curve:
            await self._fewer()

    async def _fewer(self) -> None:
        for size in range(1, len(self.devices)):
            for members in circular(self.devices, size):
                self.parts.setdefault(frozenset(members), f"{MERGED} ({' + '.join(members)})")
        teams = {self.parts[part]: [name for name in self.devices if name in part] for part in self.parts}
        await self._phase("fewer agents", [Collaboration(name, self._graph(of)) for name, of in teams.items()])
        self.parts[frozenset(self.devices)] = MERGED

    def _graph(self, members: Sequence[str]) -> Any:
        from aiflow.graphs import device_server

        assert self.team.server
        devices = [device for device in self.team.devices if device.name in members]
        how: Any = self.live.merge
        return device_server(
            self.team.server,
            devices,
            select="all",
            merge=how,
            revise="all",
            options=WRITING,
            deadline=self.live.deadline,
        )

    async def _phase(self, title: str, subjects: Sequence[Subject]) -> None:
        total = len(subjects) * len(self.suite.samples)
        with Progress(title, total, unit=self.suite.unit, quiet=self.quiet) as progress:

            def watch(record: Record) -> None:
                self.log.append(record)
                progress.advance(record)

            known = [
                key for subject in subjects for s in self.suite.samples if (key := (subject.name, s.id)) in self.done
            ]
            for key in known:
                progress.advance(self.done[key])
            found = await runner.run(self.suite, subjects, parallel=self.live.parallel, watch=watch, done=self.done)
        self.records |= found
        for name, records in found.items():
            _demand_answers(name, records)


def _demand_answers(name: str, records: Sequence[Record]) -> None:
    """Raises QuorumError if nothing but errors came from a subject: that is an outage, and no score of 0."""
    errors = [record.turns[0].error for record in records]
    if errors and all(errors):
        raise QuorumError(f"{name} answered none of {len(errors)} questions ({errors[0]}); mend that and resume.")


def mean(records: Sequence[Record]) -> float:
    """The mean score of the records that have one; 0 if none has."""
    known = [record.score for record in records if record.score is not None]
    return sum(known) / len(known) if known else 0.0
