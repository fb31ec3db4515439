"""``aiflow serve CONFIG | key``, and the gateway's benchmarks. Knows flags, nothing else."""

from pathlib import Path
from typing import Annotated, Any

import typer

from aiflow.cli_bench import Json, Seed, bench

KeysFile = Annotated[Path, typer.Option("--file", help="The file of hashes; `keys` in the configuration names it.")]
KEYS = Path("keys.json")
Traces = Annotated[
    str | None, typer.Option(help="Send OpenTelemetry spans to http://COLLECTOR:4318, or write them into this file.")
]


class _Serve(typer.core.TyperGroup):
    """`aiflow serve CONFIG` is `aiflow serve run CONFIG`: a group whose first word may be a file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


serve = typer.Typer(
    cls=_Serve, no_args_is_help=True, help="Serve agents and graphs: aiflow serve CONFIG (OpenAI-compatible)."
)
key = typer.Typer(no_args_is_help=True, help="API keys of the gateway.")
serve.add_typer(key, name="key")


@serve.command("run")
def run(
    config: Annotated[str, typer.Argument(help="A YAML file of topology, agents and graphs; 'home' ships.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8000,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let others reach it without keys or TLS.")] = False,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write prompts and answers to the log.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line of log for each request.")] = False,
    ray_serve: Annotated[bool, typer.Option("--ray-serve", help="On Ray Serve, for scale.")] = False,
    replicas: Annotated[int, typer.Option(min=1, help="Of the gateway on Ray Serve.")] = 1,
    traces: Traces = None,
) -> None:
    """Serve the agents and graphs of CONFIG as models of an OpenAI-compatible interface."""
    from aiflow import tracing
    from aiflow.serve.server import Bind

    if traces:
        tracing.start(traces, prompts=log_prompts)
    bind = Bind(host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, insecure=insecure)
    if ray_serve:
        from aiflow.serve import ray_serve as scaled

        scaled.serve(config, bind, replicas=replicas, log_prompts=log_prompts)
    else:
        from aiflow.serve import server

        server.serve(config, bind, log_prompts=log_prompts, quiet=quiet)


def mcp(
    config: Annotated[str, typer.Argument(help="A YAML file of topology, agents and graphs; 'home' ships.")],
    http: Annotated[bool, typer.Option("--http", help="Over streamable HTTP instead of stdin and stdout.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8001,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let others reach it without keys or TLS.")] = False,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write prompts and answers to the log.")] = False,
    traces: Traces = None,
) -> None:
    """Serve the agents and graphs of CONFIG as tools of the Model Context Protocol (MCP)."""
    from aiflow import tracing
    from aiflow.serve.mcp import run as serving
    from aiflow.serve.server import Bind

    if traces:
        tracing.start(traces, prompts=log_prompts)
    bind = Bind(host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, insecure=insecure)
    serving.main(config, bind if http else None, log_prompts=log_prompts)


@key.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    file: KeysFile = KEYS,
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="Read and written.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests at a time.")] = None,
) -> None:
    """Make a key, print it this once, and keep its hash."""
    from aiflow.serve.keys import KeyFile

    made = KeyFile(file).add(
        name,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrency=concurrency,
    )
    print(made)


@key.command("list")
def list_keys(file: KeysFile = KEYS) -> None:
    """Name the keys, with their ids and limits."""
    from aiflow.errors import UsageError
    from aiflow.serve.keys import KeyFile

    if not file.is_file():
        raise UsageError(
            f"there is no file of keys {str(file)!r}; make one: `aiflow serve key new NAME --file {file}`."
        )

    for held in KeyFile(file).read().values():
        limits = {
            "requests/min": held.requests_per_minute,
            "tokens/min": held.tokens_per_minute,
            "at a time": held.concurrency,
        }
        shown = ", ".join(f"{number} {what}" for what, number in limits.items() if number is not None)
        print(f"{held.id}  {held.name}  {shown}".rstrip())


@key.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="Whose key it is.")], file: KeysFile = KEYS) -> None:
    """Make a key invalid."""
    from aiflow.serve.keys import KeyFile

    KeyFile(file).remove(name)


@bench.command("gateway")
def bench_gateway(
    seconds: Annotated[float, typer.Option(min=0.5, help="For each number of clients.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=2, help="Of 50 requests, beside FastAPI.")] = 40,
    minutes: Annotated[float, typer.Option(min=0.1, help="Of load while memory is watched; the bar says 10.")] = 1.0,
    quick: Annotated[bool, typer.Option("--quick", help="A look at the form, in half a minute.")] = False,
    json: Json = False,
) -> None:
    """The gateway with 1, 8, 64, 256 clients and agents that cost nothing; a request beside bare FastAPI; memory."""
    from aiflow.bench import gateway

    if quick:
        seconds, rounds, minutes = 1.0, 6, 0.1
    gateway.main(seconds=seconds, rounds=rounds, minutes=minutes, json=json)


@bench.command("gateway-security")
def bench_gateway_security(
    count: Annotated[int, typer.Option(min=1, help="Hostile requests.")] = 10_000,
    slow: Annotated[int, typer.Option(min=0, help="Slow ones beside them.")] = 40,
    quick: Annotated[bool, typer.Option("--quick", help="A twentieth of them.")] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Hostile requests to the gateway: statuses, server errors, leaks of keys and prompts, memory."""
    from aiflow.bench import gateway

    if quick:
        count, slow = max(1, count // 20), slow // 5
    gateway.main_security(count=count, slow=slow, seed=seed, json=json)


@bench.command("injection")
def bench_injection(
    attempts: Annotated[int, typer.Option(min=8, help="For each way to merge and to quote.")] = 80,
    server: Annotated[str, typer.Option(help="The model that merges.")] = "aiflow:nano/server",
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """One bad device tells the merging server what to say: how often that works, by how answers are quoted."""
    from aiflow.bench import gateway

    gateway.main_injection(attempts=attempts, server=server, seed=seed, json=json)
