"""``aiflow familial ...``: models of many sizes that share their weights. Knows flags, nothing else."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="End with one JSON object as the last line of stdout.")]
Model = Annotated[str, typer.Argument(help="Folder of a transformers model, or aiflow:nano/NAME.")]
FamilyFolder = Annotated[str, typer.Argument(metavar="FAMILY", help="Folder of a family, or aiflow:nano/NAME.")]
Anything = Annotated[str, typer.Argument(metavar="FOLDER", help="A family, a nested model, or a plain model.")]
Out = Annotated[Path, typer.Argument(help="Folder to write.")]
Texts = Annotated[Path, typer.Option(help='.jsonl with "text", or .txt: a text per paragraph, else per line.')]
Length = Annotated[int, typer.Option(min=2, help="Tokens of each text that are read.")]
Storage = Annotated[str, typer.Option(help="bfloat16, float32 or int8.")]
Rate = Annotated[float, typer.Option(min=0.0)]
Count = Annotated[int, typer.Option(min=1)]

familial = typer.Typer(no_args_is_help=True, help="Models of many sizes that share their weights.")


@familial.command("decompose")
def decompose(
    model: Model,
    out: Out,
    texts: Texts,
    keep: Annotated[str | None, typer.Option(help="Kept shares of the levels; 0.2,0.4,0.6 by default.")] = None,
    parameters: Annotated[str | None, typer.Option(help="Or parameters of the levels: 1.2M,2M.")] = None,
    ranks: Annotated[str, typer.Option(help="greedy (one budget for all matrices) or uniform.")] = "greedy",
    plain: Annotated[bool, typer.Option("--plain", help="SVD of the weights alone, without whitening.")] = False,
    sequential: Annotated[bool, typer.Option("--sequential", help="Later blocks see the compressed ones.")] = False,
    storage: Annotated[str | None, typer.Option(help="bfloat16, float32 or int8; as the model, by default.")] = None,
    length: Length = 512,
    json: Json = False,
) -> None:
    """Turn a model into nested low-rank members: whitened SVD of every block."""
    from aiflow import families

    families.decompose(
        model, out, texts=texts, keep=keep, parameters=parameters, ranks=ranks, plain=plain, sequential=sequential,
        storage=storage, length=length, json=json,
    )  # fmt: skip


@familial.command("branch")
def branch(
    model: Model,
    out: Out,
    texts: Texts,
    exits: Annotated[str, typer.Option(help="Blocks after which a branch answers: 2,4.")],
    keep: Annotated[float, typer.Option(help="Kept share of each branch's parameters.")] = 0.75,
    storage: Storage = "bfloat16",
    length: Length = 512,
    json: Json = False,
) -> None:
    """Make a family: branches at the exits of a model, from its next blocks by whitened SVD."""
    from aiflow import families

    families.branch(model, out, texts=texts, exits=exits, keep=keep, storage=storage, length=length, json=json)


@familial.command("train")
def train(
    family: FamilyFolder,
    out: Out,
    texts: Texts,
    mode: Annotated[str, typer.Option(help="frozen (branches only), lora, or full.")] = "frozen",
    lora_rank: Count = 256,
    steps: Count = 1000,
    lr: Rate = 2e-5,
    batch: Annotated[int, typer.Option(min=1, help="Texts per step.")] = 8,
    select: Annotated[str, typer.Option(help="Members of a step: all, random, round-robin or loss.")] = "all",
    per_step: Annotated[int, typer.Option(min=1, help="How many, unless all.")] = 1,
    partial: Annotated[list[str] | None, typer.Option(help="Parts of branches to train, too: 2:0.5.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    resume: Annotated[bool, typer.Option(help="Continue from OUT/checkpoints.")] = True,
    storage: Storage = "bfloat16",
    length: Length = 512,
    json: Json = False,
) -> None:
    """Train the members of a family together on texts."""
    from aiflow import families

    families.train(
        family, out, texts=texts, mode=mode, lora_rank=lora_rank, steps=steps, lr=lr, batch=batch, select=select,
        per_step=per_step, partial=partial or [], seed=seed, resume=resume, storage=storage, length=length, json=json,
    )  # fmt: skip


@familial.command("members")
def members(
    folder: Anything,
    parameters: Annotated[str | None, typer.Option(help="Budget: 1.2M, 3B.")] = None,
    memory: Annotated[str | None, typer.Option(help="Budget of the weights: 3GB.")] = None,
    latency: Annotated[str | None, typer.Option(help="Budget per token, measured on this node: 20ms.")] = None,
    json: Json = False,
) -> None:
    """List members and sizes; with a budget, also the largest member within it."""
    from aiflow import families

    families.members(folder, parameters=parameters, memory=memory, latency=latency, json=json)


@familial.command("eval")
def evaluate(
    folder: Anything,
    texts: Texts,
    plot: Annotated[Path | None, typer.Option(help="Draw quality by size: a .png, .svg or .pdf file.")] = None,
    length: Length = 512,
    json: Json = False,
) -> None:
    """Measure every member on texts: bits per token, perplexity, information capacity."""
    from aiflow import families

    families.evaluate(folder, texts=texts, plot=plot, length=length, json=json)


@familial.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(help="Folder of a released family: AI-Flow-Ruyi or Ruyi2.")],
    out: Out,
    storage: Storage = "bfloat16",
    json: Json = False,
) -> None:
    """Write a released family in aiflow's layout."""
    from aiflow import families

    families.convert(source, out, storage=storage, json=json)
