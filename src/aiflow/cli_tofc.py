"""``aiflow tofc ...``: images as few compressed features, for any supported model. Knows flags, nothing else."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="End with one JSON object as the last line of stdout.")]
Model = Annotated[str, typer.Argument(help="Folder or Hub id of a LLaVA, LLaVA-OneVision, Qwen2-VL or Qwen2.5-VL.")]
Codec = Annotated[Path, typer.Argument(help="Folder of a codec that was trained for the model.")]
Device = Annotated[str, typer.Option(help="Device of torch: cpu, cuda, mps.")]
Count = Annotated[int, typer.Option(min=1)]

tofc = typer.Typer(no_args_is_help=True, help="Images as few compressed features: train, encode, answer.")


@tofc.command("train")
def train(
    model: Model,
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    data: Annotated[Path, typer.Option(help='JSON lines: {"image": path, "messages": [...]}, or LLaVA\'s layout.')],
    tokens: Annotated[str, typer.Option(help="Numbers of features that an image may keep.")] = "8,16,32",
    levels: Annotated[int, typer.Option(min=1, max=255, help="Levels of quality, coarse to fine.")] = 4,
    rates: Annotated[str | None, typer.Option(help="Loss of one bit at each level; 6e-4 to 2e-5 by default.")] = None,
    basis: Annotated[int, typer.Option(min=1, help="Directions of a feature that are coded.")] = 128,
    hidden: Count = 512,
    hyper: Count = 64,
    models: Annotated[int, typer.Option(min=1, max=255, help="Entropy models to choose from.")] = 4,
    rank_vision: Annotated[int, typer.Option(min=1, help="LoRA rank of the vision tower.")] = 64,
    rank_text: Annotated[int, typer.Option(min=1, help="LoRA rank of the language model.")] = 64,
    steps: Count = 2000,
    lr: Annotated[float, typer.Option(min=0.0)] = 2e-4,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens that the language model reads per step.")] = 4096,
    length: Annotated[int, typer.Option(min=2, help="Tokens of each dialogue that are read.")] = 1024,
    device: Device = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16, of the model; what learns is float32.")] = "float32",
    storage: Annotated[str, typer.Option(help="bfloat16, float32 or int8.")] = "bfloat16",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    resume: Annotated[bool, typer.Option(help="Continue from OUT/checkpoints.")] = True,
    json: Json = False,
) -> None:
    """Train a feature codec for a vision language model on dialogues on images."""
    from aiflow import compression

    compression.train(
        model, out, data=data, tokens=tokens, levels=levels, rates=rates, basis=basis, hidden=hidden, hyper=hyper,
        models=models, rank_vision=rank_vision, rank_text=rank_text, steps=steps, lr=lr, batch_tokens=batch_tokens,
        length=length, device=device, dtype=dtype, storage=storage, seed=seed, resume=resume, json=json,
    )  # fmt: skip


@tofc.command("encode")
def encode(
    model: Model,
    codec: Codec,
    image: Annotated[Path, typer.Argument(help="A picture file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")],
    tokens: Annotated[int | None, typer.Option(min=1, help="Features to keep; as many as it was trained for.")] = None,
    level: Annotated[int | None, typer.Option(min=0, help="Of quality; the finest, by default.")] = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """The device's half: an image to a file of few bytes."""
    from aiflow import compression

    compression.encode(model, codec, image, tokens=tokens, level=level, out=out, device=device, json=json)


@tofc.command("answer")
def answer(
    model: Model,
    codec: Codec,
    file: Annotated[Path, typer.Argument(help="What `aiflow tofc encode` wrote.")],
    question: str,
    limit: Annotated[int, typer.Option(min=1, help="Tokens of the answer at most.")] = 256,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """The server's half: the bytes of an image and a question to an answer."""
    from aiflow import compression

    compression.answer(model, codec, file, question, limit=limit, device=device, json=json)
