"""Trains a feature codec for a vision language model on dialogues on images. Inputs are checked before it takes long.

Source: AI Flow, section II-B1.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiflow.compression import report
from aiflow.compression.dialogues import Writer
from aiflow.compression.models import DTYPES, Seeing, load
from aiflow.compression.samples import Sample, picture, read
from aiflow.errors import InputError
from aiflow.families import inputs
from aiflow.families.tables import end, say, table

if TYPE_CHECKING:
    from torch import Tensor

    from aiflow.collaboration.tofc.batches import Batch, Row
    from aiflow.collaboration.tofc.model import Compressor

RATES, STEPS = (6e-4, 2e-5), (1.0, 0.35)
"""From the coarsest level to the finest: the loss of a bit, and the quantiser's step at first, in deviations."""
MEASURED, TRIES, PLENTY = 16, 100, 4
"""Dialogues that the report measures; dialogues without a target in a row that end a training; features that set the
basis, for each channel."""


def train(
    name: str,
    out: Path,
    *,
    data: Path,
    tokens: str,
    levels: int,
    rates: str | None,
    basis: int,
    hidden: int,
    hyper: int,
    models: int,
    rank_vision: int,
    rank_text: int,
    steps: int,
    lr: float,
    batch_tokens: int,
    length: int,
    device: str,
    dtype: str,
    storage: str,
    seed: int,
    resume: bool,
    json: bool,
) -> None:
    """Writes a codec; a killed run goes on from OUT/checkpoints."""
    run = {key: value if isinstance(value, int | float) else str(value) for key, value in locals().items()}
    inputs.one_of("storage", storage, inputs.STORAGES)
    inputs.one_of("dtype", dtype, DTYPES)
    sizes = {"basis": basis, "hidden": hidden, "hyper": hyper, "models": models, "levels": levels}
    counts, prices = _counts(tokens), _rates(rates, levels)
    inputs.apart(Path(name), out)
    found, blind = read(data)
    if blind:
        say(f"{blind} dialogues of {data} have no image and are left out")
    import torch

    from aiflow.collaboration.tofc.training import Objective, fit_codec
    from aiflow.fitting import Recipe

    seeing = load(name, device=device, dtype=dtype)
    rows, checkpoint = _Rows(seeing, length), out / "checkpoints" / "tofc.pt"
    inputs.same_run(out / "checkpoints", run, resume)
    torch.manual_seed(seed)
    made = _codec(seeing, sizes, counts)
    sample = _sample(rows, found, seed)
    plain = report.plain_loss(made, sample)
    say(f"{len(found):,} dialogues; the model itself has a loss of {plain:.4f} nats per token")
    if not (resume and checkpoint.is_file()):
        _start(made, rows, found, seed)
    made.prepare(vision_rank=rank_vision, text_rank=rank_text)
    state = fit_codec(
        made,
        _data(rows, found, batch_tokens, max(counts), seed),
        Recipe(steps=steps, lr=lr, warmup=max(1, min(50, steps // 10)), every=max(1, min(100, steps // 10))),
        Objective(rates=prices),
        checkpoint=checkpoint,
        autocast=dtype == "bfloat16",
        resume=resume,
        progress=lambda _stage, step, of, loss: say(f"step {step} of {of}: loss {loss:.4f}"),
    )
    made.requires_grad_(False)
    made.save_pretrained(out, storage=storage)
    said = {"model": name, "dialogues": len(found), "seed": seed, "rates": prices, "plain_loss": plain, **state}
    _finish(made, out, sample, said, json)


def _finish(made: "Compressor", out: Path, sample: Sequence["Batch"], said: dict[str, Any], json: bool) -> None:
    """Measures every setting, and writes and prints what was found."""
    said["settings"], said["measured"] = report.settings(made, sample), sum(len(batch.rows) for batch in sample)
    said["versions"] = {package: version(package) for package in ("torch", "transformers", "peft")}
    report.write(out, said)
    lines = [(str(r["tokens"]), str(r["level"]), f"{r['bytes']:.0f}", f"{r['loss']:.4f}") for r in said["settings"]]
    table(("tokens", "level", "bytes", "nats per token"), lines)
    end(said, json)


def _counts(text: str) -> tuple[int, ...]:
    found = tuple(inputs.numbers("tokens", text))
    if found[0] < 1:
        raise InputError(f"tokens={text!r} is not usable; an image keeps 1 or more.")
    return found


def _rates(text: str | None, levels: int) -> tuple[float, ...]:
    """The loss of a bit at each level."""
    if text is None:
        return _between(RATES, levels)
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != levels or min(found) < 0:
        raise InputError(f"rates={text!r} is not usable; write {levels} numbers from 0 on, one for each level.")
    return found


def _between(ends: tuple[float, float], count: int) -> tuple[float, ...]:
    """``count`` numbers from one end to the other, by equal factors."""
    first, last = ends
    return tuple(first * (last / first) ** (i / max(1, count - 1)) for i in range(count))


def _codec(seeing: Seeing, sizes: dict[str, int], tokens: tuple[int, ...]) -> "Compressor":
    from aiflow.collaboration.tofc.adapters import adapter
    from aiflow.collaboration.tofc.codec import CodecConfig
    from aiflow.collaboration.tofc.model import Compressor

    channels = adapter(seeing.model).channels
    config = CodecConfig(**{**sizes, "basis": min(sizes["basis"], channels)}, channels=channels, tokens=tokens)
    return Compressor(seeing.model, config).to(next(seeing.model.parameters()).device)


class _Rows:
    """Samples as rows of a batch."""

    def __init__(self, seeing: Seeing, length: int) -> None:
        self._seeing, self._writer, self._length = seeing, Writer(seeing), length

    def tokens(self, sample: Sample) -> tuple[list[int], list[float]]:
        """Ids and weights. Raises InputError, naming the sample."""
        try:
            return self._writer.dialogue(sample.turns, self._length)
        except InputError as error:
            raise InputError(f"{sample.place}: {error}") from error

    def inputs(self, sample: Sample) -> Any:
        """What the image processor makes of the image. Raises InputError, naming the sample."""
        image = picture(sample.image, sample.place)
        try:
            return self._seeing.images(images=image, return_tensors="pt")
        except ValueError as error:
            raise InputError(f"{sample.place}: the image processor refuses the image: {error}") from error

    def row(self, sample: Sample) -> "Row | None":
        """None: no answer within the length."""
        from aiflow.collaboration.tofc.batches import Row

        ids, weights = self.tokens(sample)
        return Row(ids=ids, weights=weights, inputs=self.inputs(sample)) if any(weights) else None


def _sample(rows: _Rows, found: Sequence[Sample], seed: int) -> list["Batch"]:
    """Some dialogues, each a batch. Raises InputError if none of them has an answer."""
    from aiflow.collaboration.tofc.batches import Batch

    chosen = random.Random(f"{seed} sample").sample(found, min(MEASURED, len(found)))
    usable = [row for row in map(rows.row, chosen) if row is not None]
    if not usable:
        raise InputError("no dialogue has an answer within --length tokens; raise it.")
    return [Batch(rows=(row,)) for row in usable]


def _start(made: "Compressor", rows: _Rows, found: Sequence[Sample], seed: int) -> None:
    """Sets the codec's basis by features of images, merged ones where there are enough."""
    import torch

    from aiflow.collaboration.tofc.merging import shares

    config = made.codec.config
    wanted, order = PLENTY * config.channels, list(found)
    random.Random(f"{seed} basis").shuffle(order)
    merged: list[Tensor] = []
    raw: list[Tensor] = []
    count = kept = 0
    with torch.no_grad():
        for sample in order:
            tiles = [x_NC.float() for x_NC in made.adapter.tiles(rows.inputs(sample))]
            features = [len(x_NC) for x_NC in tiles]
            each = shares(features, config.tokens[-1])
            merged += [made.codec.merge(x[None], share)[0][0] for x, share in zip(tiles, each, strict=True)]
            count += sum(each)
            if kept < wanted:
                raw, kept = raw + tiles, kept + sum(features)
            if count >= wanted:
                break
    made.codec.start(torch.cat(merged if count >= config.channels else raw), _between(STEPS, config.levels))


def _data(rows: _Rows, found: Sequence[Sample], size: int, most: int, seed: int) -> Callable[[int], Iterator["Batch"]]:
    """Batches of about ``size`` tokens that the language model reads, drawn at random, the same for the same step."""

    def data(start: int) -> Iterator[Any]:
        for step in itertools.count(start):
            yield _batch(rows, found, random.Random(f"{seed} {step}"), size, most)

    return data


def _batch(rows: _Rows, found: Sequence[Sample], rng: random.Random, size: int, most: int) -> "Batch":
    from aiflow.collaboration.tofc.batches import Batch

    chosen: list[Row] = []
    used = tries = 0
    while tries < TRIES:
        row = rows.row(rng.choice(found))
        if row is None:
            tries += 1
            continue
        used += len(row.ids) + most
        if chosen and used > size:
            break
        chosen.append(row)
    if not chosen:
        raise InputError(f"{TRIES} dialogues have no answer within --length tokens; raise it.")
    return Batch(rows=tuple(chosen))
