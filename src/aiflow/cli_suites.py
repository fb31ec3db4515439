"""``aiflow bench mt-bench | alpaca-eval | arena-hard | vqa | maths | cot``: published benchmarks, one set of flags.

``--recorded`` scores answers or judgments that others recorded; ``--model``, ``--server`` and ``--graph`` ask agents.
"""

from pathlib import Path
from typing import Annotated

import typer

from aiflow.cli_bench import Count, Json, Limit, Report, Seed
from aiflow.errors import UsageError

suites = typer.Typer(no_args_is_help=True)
HELP = {
    "mt-bench": "MT-Bench: 80 questions of two turns, rated by a judge or compared in pairs (--variant pairwise).",
    "alpaca-eval": "AlpacaEval 2.0: 805 instructions, (length-controlled) win rate by a judge's token probabilities.",
    "arena-hard": "Arena-Hard v0.1 (or --variant v2): 500 questions, two games each, Bradley-Terry.",
    "vqa": "Questions on images: MME, SEED-Bench, MMBench, OCRBench, MMMU and others, one by --suite.",
    "maths": "GSM8K, MATH-500 or AIME 2024, one by --suite: exact answers, pass@1.",
    "cot": "FastEval's recorded chains of thought: GSM8K, MATH, BBH, MMLU (recorded only).",
}
Data = Annotated[
    Path | None, typer.Option(help="Folder or file of the benchmark; fetched if it may be, else looked for.")
]
Named = Annotated[str | None, typer.Option("--suite", help="Which suite of a group, e.g. MME or gsm8k.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="MODEL or NAME=MODEL to ask alone; repeat it.")]
Abouts = Annotated[list[str] | None, typer.Option("--about", help="NAME=TEXT: what that model is good at.")]
Server = Annotated[str | None, typer.Option(help="MODEL that merges: the --model are its devices then.")]
Judging = Annotated[str | None, typer.Option(help="MODEL that judges, e.g. https://host/v1#name.")]
Asked = Annotated[str | None, typer.Option("--graph", help="'home' or FILE.py:NAME of a graph to ask.")]
Places = Annotated[str, typer.Option(help="Topology of --graph; 'home' is the one that ships.")]
Merging = Annotated[str, typer.Option(help="How the server merges: synthesis, rank, best_of_n or vote.")]
Voices = Annotated[int, typer.Option(min=0, help="Also the best model sampled N times (Self-MoA).")]
Parallel = Annotated[int, typer.Option(min=1, help="Conversations in flight.")]
Requests = Annotated[int | None, typer.Option(min=1, help="Stop after N requests; resumable.")]
Tokens = Annotated[int | None, typer.Option(min=1, help="Stop after N tokens, read and written; resumable.")]
Dollars = Annotated[float | None, typer.Option(help="Stop after this many dollars at --prices; resumable.")]
Prices = Annotated[tuple[float, float] | None, typer.Option(help="Dollars for a million prompt and completion tokens.")]
Resume = Annotated[Path | None, typer.Option(help="Folder of a run that was stopped: go on, ask nothing twice.")]
Out = Annotated[Path, typer.Option(help="Where the run's folder is made.")]


def _add(name: str) -> None:
    @suites.command(name, help=HELP[name])
    def command(
        data: Data = None,
        suite: Named = None,
        recorded: Annotated[
            bool, typer.Option("--recorded", help="Score recorded answers; no model is asked.")
        ] = False,
        log: Annotated[bool, typer.Option("--log", help="Keep --recorded as a run for view, compare, export.")] = False,
        model: Models = None,
        about: Abouts = None,
        server: Server = None,
        graph: Asked = None,
        topology: Places = "home",
        local: Annotated[
            bool, typer.Option("--local", help="The graph's agents in this process, without Ray.")
        ] = False,
        judge: Judging = None,
        variant: Annotated[str | None, typer.Option(help="Another form of the benchmark.")] = None,
        baseline: Annotated[str | None, typer.Option(help="Recorded model that pairs are judged against.")] = None,
        merge: Merging = "synthesis",
        self_moa: Voices = 0,
        curve: Annotated[bool, typer.Option("--curve", help="Also with fewer devices: Tables V and VI.")] = False,
        fresh: Annotated[bool, typer.Option("--fresh", help="Reuse no answer within the run: true times.")] = False,
        limit: Limit = None,
        parallel: Parallel = 8,
        deadline: Annotated[float, typer.Option(min=1.0, help="Seconds for each answer and judgment.")] = 300.0,
        seed: Seed = 0,
        budget_requests: Requests = None,
        budget_tokens: Tokens = None,
        budget_dollars: Dollars = None,
        prices: Prices = None,
        resume: Resume = None,
        out: Out = Path("runs"),
        report: Report = None,
        plots: Annotated[Path | None, typer.Option(help="A folder for a figure of --curve.")] = None,
        json: Json = False,
    ) -> None:
        from aiflow.bench.suites import command as run

        if recorded and (model or server or graph or judge or resume):
            raise UsageError("--recorded asks nobody; leave --model, --server, --graph, --judge and --resume out.")
        if recorded and limit and not log:
            raise UsageError("--recorded scores all that is there; leave --limit out, or keep a run of it with --log.")
        if recorded and log:
            run.kept(name, which=suite, data=data, limit=limit, out=out, report=report, json=json)
            return
        if recorded:
            run.recorded(name, which=suite, data=data, json=json)
            return
        if name == "mt-bench" and not (model or graph or server or judge or resume):
            _replayed(data, limit, json)
            return
        from aiflow.bench.budget import Budget
        from aiflow.bench.live import Live

        live = Live(
            models=tuple(model or ()),
            abouts=dict(_pair(text) for text in about or ()),
            server=server,
            graph=graph,
            topology=topology,
            local=local,
            judge=judge,
            merge=merge,
            self_moa=self_moa,
            curve=curve,
            reuse=not fresh,
            parallel=parallel,
            seed=seed,
            deadline=deadline,
            budget=Budget(requests=budget_requests, tokens=budget_tokens, dollars=budget_dollars, prices=prices),
            out=out,
            resume=resume,
        )
        run.live(
            name,
            live,
            which=suite,
            variant=variant,
            baseline=baseline,
            data=data,
            limit=limit,
            report=report,
            plots=plots,
            json=json,
        )


@suites.command("table")
def table(
    number: Annotated[str, typer.Argument(help="III, IV, V or VI.")],
    data: Data = None,
    suite: Annotated[list[str] | None, typer.Option(help="Other suites than the table's own; repeat it.")] = None,
    model: Models = None,
    about: Abouts = None,
    server: Server = None,
    graph: Asked = None,
    topology: Places = "home",
    judge: Judging = None,
    merge: Merging = "synthesis",
    limit: Limit = None,
    parallel: Parallel = 8,
    seed: Seed = 0,
    resume: Resume = None,
    out: Out = Path("runs"),
    json: Json = False,
) -> None:
    """A table of the paper: on recorded agents, or with --server and --model on real ones."""
    if not (model or graph):
        from aiflow.bench import collaborations

        if suite:
            raise UsageError("the table of recorded agents has its own suites; leave --suite out, or name agents.")
        collaborations.main_table(number, data=data, seed=seed, json=json)
        return
    from aiflow.bench.live import Live, paper

    live = Live(
        models=tuple(model or ()),
        abouts=dict(_pair(text) for text in about or ()),
        server=server,
        graph=graph,
        topology=topology,
        judge=judge,
        merge=merge,
        parallel=parallel,
        seed=seed,
        out=out,
        resume=resume,
    )
    paper.main(number, live, suites=suite or [], data=data, limit=limit, json=json)


@suites.command("collaborations")
def collaborations(
    data: Data = None,
    suite: Annotated[list[str] | None, typer.Option(help="Only these boards; repeat it.")] = None,
    seed: Seed = 0,
    plots: Annotated[Path | None, typer.Option(help="A folder for the figure.")] = None,
    json: Json = False,
) -> None:
    """Recorded agents together: found on one half of the questions, tested on the other, beside their best member."""
    from aiflow.bench import collaborations

    collaborations.main(data=data, suites=suite or None, seed=seed, plots=plots, json=json)


@suites.command("lm-eval")
def lm_eval(
    tasks: Annotated[str, typer.Option(help="Names of lm-evaluation-harness's tasks, with commas.")],
    model: Annotated[str | None, typer.Option(help="MODEL, as for an agent.")] = None,
    graph: Asked = None,
    topology: Places = "home",
    limit: Limit = None,
    few_shot: Annotated[int | None, typer.Option(min=0, help="Examples in the prompt.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Prompts as conversations.")] = False,
    include_path: Annotated[Path | None, typer.Option(help="A folder with tasks of your own (YAML).")] = None,
    parallel: Parallel = 8,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for its result files.")] = None,
    json: Json = False,
) -> None:
    """MMLU, CMMLU, C-Eval, BBH and all else of lm-evaluation-harness (an extra) on any model or graph."""
    from aiflow.bench import harness

    names = [name for name in tasks.split(",") if name]
    harness.main(
        names,
        model,
        graph=graph,
        topology=topology,
        limit=limit,
        few_shot=few_shot,
        chat=chat,
        include_path=include_path,
        parallel=parallel,
        seed=seed,
        out=out,
        json=json,
    )


@suites.command("resume")
def resume(
    data: Data = None,
    questions: Count = 80,
    parallel: Parallel = 4,
    out: Out = Path("runs/resume"),
    json: Json = False,
) -> None:
    """MT-Bench against a server of its own, killed twice on the way and resumed: what was asked again?"""
    from aiflow.bench.live import kills

    kills.main(data=data, questions=questions, parallel=parallel, out=out, json=json)


def _replayed(data: Path | None, limit: int | None, json: bool) -> None:
    """The recorded models as agents of the ordinary device-server graph, without a model."""
    from aiflow.bench.collaborations import mt_bench

    mt_bench.main(data=data, limit=limit, json=json)


def _pair(text: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    if not (name and equals and rest):
        raise UsageError(f"--about {text!r} is not NAME=TEXT.")
    return name, rest


for _name in HELP:
    _add(_name)
