"""``aiflow top``. Knows flags, nothing else."""

from typing import Annotated

import typer

from aiflow.cli_bench import Json


def top(
    gateway: Annotated[str | None, typer.Argument(help="A running gateway (default: http://127.0.0.1:8000).")] = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster instead: its head's HOST:PORT, or 'auto'.")] = None,
    name: Annotated[str | None, typer.Option(help="A cluster of `aiflow cluster up` instead.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="AIFLOW_API_KEY", help="The gateway's key, where it needs one.")
    ] = None,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="One look, and end.")] = False,
    json: Json = False,
) -> None:
    """Show nodes, links and agents as they are now, again and again."""
    from aiflow.errors import UsageError
    from aiflow.top.loop import Source, watch

    if sum(given is not None for given in (gateway, address, name)) > 1:
        raise UsageError("give one of a gateway, --address and --name.")
    source: Source
    if address is not None:
        from aiflow.top.ray import RayCluster

        source = RayCluster(address, interval)
    elif name is not None:
        from aiflow.top.shaped import Shaped

        source = Shaped(name)
    else:
        from aiflow.top.gateway import Gateway

        source = Gateway(gateway or "http://127.0.0.1:8000", key)
    watch(source, interval=interval, once=once, json=json)
