"""Asks every recorded model, and every collaboration of every pool, all questions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from aiflow.bench import runner
from aiflow.bench.collaborations.mt_bench import cards
from aiflow.bench.collaborations.mt_bench.graded import suite_of
from aiflow.bench.collaborations.mt_bench.team import HEADLINE, SETUPS, collaboration, expectations, recorded_agents
from aiflow.bench.log import RunLog
from aiflow.bench.progress import Progress
from aiflow.bench.subjects import Alone
from aiflow.bench.suite import Record, Subject, Suite
from aiflow.bench.suites.mt_bench.data import Recorded

PARALLEL = 16


async def measure(
    suite: Suite, recorded: Recorded, data: Path, *, log: RunLog | None = None, quiet: bool = False
) -> dict[str, list[Record]]:
    """Records by subject: a model's name, or ``<pool>: <setup>``. Only the headline setups keep the whole exchange."""
    pools = cards.pools(recorded.models)
    total = (len(recorded.models) + len(pools) * len(SETUPS)) * len(suite.samples)
    records: dict[str, list[Record]] = {}
    with Progress("MT-Bench", total, unit=suite.unit, quiet=quiet) as progress:

        async def ask(models: Sequence[str], subject: Subject) -> None:
            scored = suite_of(recorded, models, suite.samples)
            found = await runner.run(scored, [subject], parallel=PARALLEL, watch=progress.advance)
            whole = subject.name in recorded.models or subject.name.endswith(f": {HEADLINE}")
            records[subject.name] = found[subject.name] if whole else [_brief(r) for r in found[subject.name]]
            for record in records[subject.name] if log else ():
                assert log
                log.append(record)

        async with recorded_agents(recorded, data) as agents:
            expected = expectations(recorded)
            for model in recorded.models:
                await ask([model], Alone(agents[cards.short(model)]))
            for name, pool in pools.items():
                members = {cards.short(model): agents[cards.short(model)] for model in pool}
                for setup in SETUPS:
                    await ask(pool, collaboration(name, setup, recorded, members, expected))
    return records


def _brief(record: Record) -> Record:
    return replace(record, turns=tuple(replace(turn, answers={}, steps=()) for turn in record.turns))
