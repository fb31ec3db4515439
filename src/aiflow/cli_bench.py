"""``aiflow bench``: the embedded suite, what each technique measures of itself, and the system. Knows flags only.

The published benchmarks are in ``cli_suites``.
"""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="End with one JSON object as the last line of stdout.")]
Report = Annotated[Path | None, typer.Option(help="Write the self-contained HTML report here.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first N questions.")]
Count = Annotated[int, typer.Option(min=1)]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]

bench = typer.Typer(no_args_is_help=True, help="Measure: quality, overhead, load, faults, bytes.")


@bench.command("nano")
def bench_nano(
    limit: Limit = None,
    quick: Annotated[bool, typer.Option(help="Without the agent-count curve and the ablation.")] = False,
    merge: Annotated[str, typer.Option(help="rank, synthesis, best_of_n or vote.")] = "rank",
    report: Report = None,
    plots: Annotated[Path | None, typer.Option(help="A folder for a figure of the curve.")] = None,
    json: Json = False,
) -> None:
    """The embedded family on its held-out suite, in the form of the paper's Tables III, V and VI."""
    from aiflow.bench import nano

    nano.main(limit=limit, quick=quick, merge=merge, report=report, plots=plots, json=json)


@bench.command("familial")
def bench_familial(
    part: Annotated[list[str] | None, typer.Option(help="eesb, hpcd, capacity, svd, memory or serving.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All parts, also those that take minutes.")] = False,
    limit: Annotated[int | None, typer.Option(min=2, help="Items of each form and suite.")] = None,
    family: Annotated[list[Path] | None, typer.Option(help="A family's folder; one for each trained seed.")] = None,
    hpcd: Annotated[Path | None, typer.Option(help="Folder of the low-rank members.")] = None,
    plots: Annotated[Path | None, typer.Option(help="A folder for figures of quality against parameters.")] = None,
    json: Json = False,
) -> None:
    """Familial models: quality of every member against its parameters, beside early exit; SVD, memory, serving."""
    from aiflow.bench import familial

    parts, families = part or [], family or []
    familial.main(parts=parts, everything=everything, limit=limit, family=families, hpcd=hpcd, plots=plots, json=json)


@bench.command("decoding")
def bench_decoding(
    part: Annotated[
        list[str] | None,
        typer.Option(help="speed, tiers, devices, bytes, lengths, pipeline, adaptive or breakeven."),
    ] = None,
    family: Annotated[Path | None, typer.Option(help="A family's folder.")] = None,
    prompts: Count = 48,
    tokens: Annotated[int, typer.Option(min=100, help="Of each simulated session.")] = 2000,
    plots: Annotated[Path | None, typer.Option(help="A folder for the figures.")] = None,
    json: Json = False,
) -> None:
    """Collaborative decoding: speed beside transformers, one to three tiers, many devices, curves over links."""
    from aiflow.bench import decoding

    decoding.main(parts=part or [], family=family, prompts=prompts, tokens=tokens, plots=plots, json=json)


@bench.command("tofc")
def bench_tofc(
    part: Annotated[
        list[str] | None, typer.Option(help="rate, latency, adaptation, speed, fuzz or real (with --data).")
    ] = None,
    family: Annotated[Path | None, typer.Option(help="A family's folder, with a codec in it.")] = None,
    items: Annotated[int, typer.Option(min=2, help="Questions of each of the nine forms.")] = 40,
    streams: Annotated[int, typer.Option(min=1, help="To fuzz.")] = 100_000,
    data: Annotated[Path | None, typer.Option(help="A folder with photographs.")] = None,
    plots: Annotated[Path | None, typer.Option(help="A folder for the figures.")] = None,
    json: Json = False,
) -> None:
    """Feature compression: accuracy against bytes beside JPEG and WebP, latency over links, changing channels."""
    from aiflow.bench import tofc

    tofc.main(parts=part or [], family=family, items=items, streams=streams, data=data, plots=plots, json=json)


@bench.command("split")
def bench_split(
    part: Annotated[list[str] | None, typer.Option(help="outages, latency or bytes.")] = None,
    family: Annotated[Path | None, typer.Option(help="A family's folder.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Of the outages.")] = 100,
    json: Json = False,
) -> None:
    """Split inference: seeded link outages, latency over links beside each side alone, bytes of what travels."""
    from aiflow.bench import split

    split.main(parts=part or [], family=family, seeds=seeds, json=json)


@bench.command("overhead")
def bench_overhead(
    repeats: Count = 30,
    devices: Annotated[list[int] | None, typer.Option(help="5, 50, or both (default).")] = None,
    json: Json = False,
) -> None:
    """Time the graph adds to the critical path of its agents, beside a plain asyncio + Ray loop."""
    from aiflow.bench.system import overhead

    overhead.main(repeats=repeats, devices=devices or [5, 50], json=json)


@bench.command("load")
def bench_load(queries: Annotated[int, typer.Option(min=2)] = 2000, in_flight: Count = 64, json: Json = False) -> None:
    """Queries per second, p50 and p99 with many requests in flight, and that no answer is lost or mixed up."""
    from aiflow.bench.system import load

    load.main(queries=queries, in_flight=in_flight, json=json)


@bench.command("faults")
def bench_faults(repeats: Count = 100, seed: Seed = 0, json: Json = False) -> None:
    """SIGKILL devices and the server mid-request: an answer or a clear error in time, never a hang."""
    from aiflow.bench.system import faults

    faults.main(repeats=repeats, seed=seed, json=json)


@bench.command("bytes")
def bench_bytes(json: Json = False) -> None:
    """Bytes in traces against the encoded messages, and the time of a 1 MB image over a 500 KB/s link."""
    from aiflow.bench.system import bytes as bench_bytes

    bench_bytes.main(json=json)


@bench.command("start")
def bench_start(repeats: Count = 7, json: Json = False) -> None:
    """Time of ``import aiflow`` and of ``aiflow --help``."""
    from aiflow.bench.system import start

    start.main(repeats=repeats, json=json)


@bench.command("plan")
def bench_plan(
    traces: Count = 20,
    requests: Annotated[int, typer.Option(min=5, help="Of each trace.")] = 80,
    seed: Seed = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Five short traces.")] = False,
    plots: Annotated[Path | None, typer.Option(help="A folder for the figure.")] = None,
    json: Json = False,
) -> None:
    """The planner beside every static mode and an oracle, on seeded traces of links and load."""
    from aiflow.bench import plan

    plan.main(traces=traces, requests=requests, seed=seed, quick=quick, plots=plots, json=json)
