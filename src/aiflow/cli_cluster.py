"""``aiflow cluster | submit | jobs``: nodes with real links on this machine, jobs on any cluster. Knows flags only."""

from pathlib import Path
from typing import Annotated, Any

import typer

from aiflow.cli_bench import Count, Json, Seed, bench

Name = Annotated[str | None, typer.Option(help="Which cluster; not needed if there is only one.")]
PASS = {"allow_extra_args": True, "ignore_unknown_options": True}

cluster = typer.Typer(no_args_is_help=True, help="Nodes on this machine with real links between them (Linux, root).")


@cluster.command("up")
def cluster_up(
    topology: Annotated[str, typer.Argument(help="A topology file; 'home' is the one that ships.")],
    name: Annotated[str | None, typer.Option(help="Name of the cluster (default: the file's).")] = None,
    head: Annotated[str | None, typer.Option(help="Node of Ray's head (default: the first of the best tier).")] = None,
    cpus: Annotated[int, typer.Option(min=1, help="Of each node, as Ray counts them.")] = 1,
    ray: Annotated[bool, typer.Option(help="Start Ray on the nodes.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that each step may take.")] = 300.0,
) -> None:
    """Make a network namespace for each node, shape the links, and start Ray across them."""
    from aiflow.cluster.shaped import manage

    nodes = manage.bring_up(_file(topology), name=name, head=head, ray=ray, cpus=cpus, deadline=timeout)
    print(f"cluster {nodes.cluster.name}: {len(nodes.cluster.hosts)} nodes")
    if ray:
        print(f"address {nodes.address}  dashboard {nodes.dashboard}")
        print(f"use it: aiflow cluster exec {nodes.head} --name {nodes.cluster.name} -- COMMAND")


@cluster.command("down")
def cluster_down(
    name: Annotated[str | None, typer.Argument(help="Which cluster; not needed if there is only one.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All clusters on this machine.")] = False,
) -> None:
    """End every process of a cluster and remove all of it, also after a crash."""
    from aiflow.cluster.shaped import manage

    print("ended:", ", ".join(manage.take_down(name, everything=everything)) or "nothing")


@cluster.command("status")
def cluster_status(name: Name = None, json: Json = False) -> None:
    """Show the nodes and links of a cluster."""
    from aiflow.cluster.shaped import manage, show

    show.status(manage.status(manage.only(name)), json=json)


@cluster.command("exec", context_settings=PASS)
def cluster_exec(context: typer.Context, node: str, name: Name = None) -> None:
    """Run a command on a node: aiflow cluster exec NODE -- COMMAND."""
    from aiflow.cluster.shaped import manage
    from aiflow.errors import UsageError

    if not context.args:
        raise UsageError("there is no command; write it after --, like: aiflow cluster exec cloud -- python main.py")
    manage.execute(manage.only(name), node, context.args)


@cluster.command("link")
def cluster_link(
    a: Annotated[str, typer.Argument(help="A node.")],
    b: Annotated[str, typer.Argument(help="Its neighbour.")],
    rate: Annotated[str | None, typer.Option(help="Like '2 MB/s', both ways.")] = None,
    rtt: Annotated[str | None, typer.Option(help="Round-trip time, like '20 ms'.")] = None,
    jitter: Annotated[str | None, typer.Option(help="Like '4 ms'.")] = None,
    loss: Annotated[str | None, typer.Option(help="Of packets, like '1 %'.")] = None,
    up: Annotated[bool | None, typer.Option("--up/--down", help="A link that is down loses everything.")] = None,
    name: Name = None,
) -> None:
    """Change a link while it is up."""
    from aiflow.cluster.shaped import ShapedCluster, manage

    given: dict[str, Any] = {"rate": rate, "rtt": rtt, "jitter": jitter, "loss": loss}
    changes = {key: value for key, value in given.items() if value is not None}
    ShapedCluster.find(manage.only(name)).set_link(a, b, up=up, **changes)


@cluster.command("stop")
def cluster_stop(node: str, name: Name = None) -> None:
    """Kill every process on a node at once, as a power cut would."""
    from aiflow.cluster.shaped import ShapedCluster, manage
    from aiflow.cluster.shaped.nodes import RayNodes

    RayNodes.of(ShapedCluster.find(manage.only(name))).stop_node(node)


@cluster.command("start")
def cluster_start(node: str, name: Name = None) -> None:
    """Start Ray on a node again."""
    from aiflow.cluster.shaped import ShapedCluster, manage
    from aiflow.cluster.shaped.nodes import RayNodes

    RayNodes.of(ShapedCluster.find(manage.only(name))).start_node(node)


def _file(topology: str) -> Path:
    from importlib.resources import files

    return Path(str(files("aiflow.examples") / "home.yaml")) if topology == "home" else Path(topology)


@bench.command("links")
def bench_links(
    quick: Annotated[bool, typer.Option(help="Fewer rates and sizes: two minutes instead of five.")] = False,
    repeats: Count = 3,
    json: Json = False,
) -> None:
    """Transfer times over shaped links (real TCP between namespaces) beside those over emulated links."""
    from aiflow.bench.cluster import links

    links.main(quick=quick, repeats=repeats, json=json)


@bench.command("partition")
def bench_partition(
    requests: Annotated[int, typer.Option(min=1, help="With nodes lost at random places.")] = 60,
    kills: Annotated[int, typer.Option(min=1, help="Of processes, on the wall clock.")] = 4,
    seed: Seed = 0,
    quick: Annotated[bool, typer.Option(help="A fifth of it.")] = False,
    json: Json = False,
) -> None:
    """A model's blocks over several weak nodes: texts with nodes lost, bytes, seconds, memory, time to recover."""
    from aiflow.bench import partition

    partition.main(requests=requests, kills=kills, seed=seed, quick=quick, json=json)


@bench.command("jobs")
def bench_jobs(repeats: Count = 3, json: Json = False) -> None:
    """Submit, log, result and cancel of jobs on a separate head without aiflow, and how soon errors are told."""
    from aiflow.bench.cluster import jobs as measured

    measured.main(repeats=repeats, json=json)


@bench.command("chaos")
def bench_chaos(
    requests: Annotated[int, typer.Option(min=20, help="How many are answered.")] = 500,
    fault: Annotated[
        list[str] | None, typer.Option(help="KIND=COUNT: actor, node, link, head, driver, cluster.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Keep journals, answers and logs in this folder.")] = None,
    json: Json = False,
) -> None:
    """Requests while actors, nodes, links, the head and the driver are killed: lost, doubled, mixed up, wrong."""
    from aiflow.bench import chaos

    chaos.main(requests=requests, faults=fault or (), parallel=parallel, seed=seed, out=out, json=json)


Address = Annotated[str | None, typer.Option(help="The dashboard: http://HEAD:8265 (default: RAY_API_SERVER_ADDRESS).")]
jobs = typer.Typer(no_args_is_help=True, help="Jobs on a Ray cluster: list, logs, result, cancel.")


def submit(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="FILE.py, FILE.py:NAME of a graph, or 'home'; arguments after --.")],
    address: Address = None,
    topology: Annotated[str | None, typer.Option(help="Nodes that the job needs; a file, or 'home'.")] = None,
    follow: Annotated[bool, typer.Option(help="Stream the log and wait for the result.")] = True,
    timeout: Annotated[float | None, typer.Option(min=0.1, help="Cancel the job after so many seconds.")] = None,
    also: Annotated[list[Path] | None, typer.Option("--with", help="A further file or folder to ship.")] = None,
    pip: Annotated[list[str] | None, typer.Option(help="A package that the nodes install for this job.")] = None,
    env: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE for the job's processes; who sees the job sees it.")
    ] = None,
    cpus: Annotated[float, typer.Option(min=0, help="For the job's own process.")] = 0.0,
    gpus: Annotated[float, typer.Option(min=0, help="For the job's own process.")] = 0.0,
    resource: Annotated[list[str] | None, typer.Option(help="NAME=AMOUNT for the job's own process.")] = None,
    weights: Annotated[bool, typer.Option(help="Ship the small models too (some 40 MB, once).")] = True,
    cancel_on_interrupt: Annotated[bool, typer.Option(help="Ctrl-C also cancels the job.")] = False,
    json: Json = False,
) -> None:
    """Run a script or a graph as a job on a Ray cluster: aiflow submit main.py --address HEAD:8265 -- ARGUMENTS."""
    from dataclasses import replace

    from aiflow.cluster import Topology
    from aiflow.cluster.jobs import commands

    plan = Topology.load(_file(topology)) if topology else None
    job = commands.describe(target, context.args, plan, also or [])
    amounts = {name: float(amount) for name, amount in _pairs(resource, "--resource camera=1").items()}
    job = replace(job, pip=pip or [], env=_pairs(env, "--env NAME=VALUE"), resources=amounts)
    job = replace(job, cpus=cpus, gpus=gpus, weights=weights)
    commands.submit(
        job, address=address, follow=follow, timeout=timeout, cancel_on_interrupt=cancel_on_interrupt, json=json
    )


@jobs.command("list")
def jobs_list(address: Address = None, json: Json = False) -> None:
    """Show all jobs of a cluster, the newest first."""
    from aiflow.cluster.jobs import commands

    commands.show_all(address, json=json)


@jobs.command("logs")
def jobs_logs(
    job: str, address: Address = None, follow: Annotated[bool, typer.Option(help="Go on until it ends.")] = False
) -> None:
    """Print what a job has printed."""
    from aiflow.cluster.jobs import commands

    commands.show_log(address, job, follow=follow)


@jobs.command("result")
def jobs_result(job: str, address: Address = None) -> None:
    """Print a job's result as JSON."""
    from aiflow.cluster.jobs import commands

    commands.show_result(address, job)


@jobs.command("cancel")
def jobs_cancel(job: str, address: Address = None) -> None:
    """End a job and all that it started."""
    from aiflow.cluster.jobs import commands

    commands.cancel(address, job)


def add_clusters(app: typer.Typer) -> None:
    """Adds these commands to ``aiflow``."""
    app.add_typer(cluster, name="cluster")
    app.add_typer(jobs, name="jobs")
    app.command("submit", context_settings=PASS)(submit)


def _pairs(given: list[str] | None, example: str) -> dict[str, str]:
    from aiflow.errors import UsageError

    pairs = [text.partition("=") for text in given or []]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise UsageError(f"{name + equals + value!r} is not understood; write it like {example}.")
    return {name: value for name, _, value in pairs}
